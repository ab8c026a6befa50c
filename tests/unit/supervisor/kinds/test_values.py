"""Values as they are written in a file: durations, sizes, commands, templates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.base.text import fill
from naq.supervisor.kinds.schema import Invalid
from naq.supervisor.kinds.values import command, duration, size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("250ms", 0.25),
        ("10s", 10),
        ("1.5s", 1.5),
        ("5m", 300),
        ("1h30m", 5400),
        ("2d", 172800),
        (3, 3),
        (0.5, 0.5),
    ],
)
def test_durations(written, seconds):
    assert duration(written) == pytest.approx(seconds)


@given(
    st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.text()))
)
def test_a_duration_is_a_number_of_seconds_or_a_clear_refusal(value):
    try:
        seconds = duration(value)
    except Invalid:
        return
    assert 0 <= seconds < float("inf")


@pytest.mark.parametrize(
    ("written", "count"), [("512MiB", 2**29), ("16KiB", 16384), ("1GB", 10**9), (7, 7)]
)
def test_sizes(written, count):
    assert size(written) == count


@pytest.mark.parametrize("value", ["", "12", "1 parsec", "-1KiB", 0, -1, True, None])
def test_what_is_no_size(value):
    with pytest.raises(Invalid):
        size(value)


def test_commands():
    assert command("a 'b c' \"d\"") == ("a", "b c", "d")
    assert command(["a", "b c"]) == ("a", "b c")
    for bad in ("", [], [""], ["a\0"], {}, 3):
        with pytest.raises(Invalid):
            command(bad)


def test_templates_touch_only_their_own_fields():
    fields = {"service": "web", "replica": 2, "port": 8001}
    assert fill("{service}-{replica}:{port}", fields) == "web-2:8001"
    assert (
        fill('${port} {{port}} {x} {"a": 1} {{.Names}}', fields)
        == '${port} {port} {x} {"a": 1} {{.Names}}'
    )
    with pytest.raises(KeyError):
        fill("{project}", fields)
