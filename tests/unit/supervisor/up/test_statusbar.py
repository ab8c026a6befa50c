"""The bar at the foot of the terminal."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.model.board import Status
from naq.supervisor.model.lifecycle import State
from naq.supervisor.output.lines import without_colours
from naq.supervisor.up.statusbar import bar


def status(service: str, state: State, replica: int = 1, **more) -> Status:
    return Status(service=service, replica=replica, name=service, state=state, **more)


@given(
    st.lists(
        st.builds(
            status,
            st.text("ab✓好", min_size=1, max_size=40),
            st.sampled_from(State),
            st.integers(1, 3),
            detail=st.text("xyz 好", max_size=80),
            failures=st.integers(0, 9),
            runs=st.integers(0, 9),
        ),
        max_size=12,
    ),
    st.integers(10, 120),
    st.integers(5, 50),
    st.booleans(),
    st.booleans(),
)
def test_the_bar_fits_the_terminal(statuses, width, height, colour, stopping):
    from rich.cells import cell_len

    lines = bar("shop", statuses, width=width, height=height, colour=colour, stopping=stopping)
    assert len(lines) <= max(1, height // 3)
    for line in lines:
        assert "\n" not in line
        assert cell_len(without_colours(line)) < width
