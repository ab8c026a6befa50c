"""Orders of start and stop, for any graph."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.model import graph

NAMES = "abcdefgh"


@st.composite
def acyclic(draw):
    order = draw(st.permutations(NAMES))
    return {
        name: draw(st.lists(st.sampled_from(order[:i]), unique=True)) if i else []
        for i, name in enumerate(order)
    }


any_graph = st.dictionaries(
    st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES + "z"), unique=True)
)


@given(acyclic())
def test_nothing_starts_before_what_it_needs(edges):
    layers = graph.start_layers(edges)
    at = {name: i for i, layer in enumerate(layers) for name in layer}
    assert set(at) == set(edges)
    assert all(at[needed] < at[name] for name, needs in edges.items() for needed in needs)
    assert graph.stop_layers(edges) == layers[::-1]


@given(any_graph)
def test_a_cycle_is_found_exactly_where_there_is_no_order(edges):
    cycle = graph.find_cycle(edges)
    if cycle:
        assert cycle[0] == cycle[-1]
        assert all(b in edges[a] for a, b in pairwise(cycle))
        with pytest.raises(ValueError, match="cycle"):
            graph.start_layers(edges)
    else:
        graph.start_layers(edges)


def test_a_long_chain_does_not_meet_the_recursion_limit():
    edges = {str(i): [str(i + 1)] for i in range(5000)} | {"5000": []}
    assert graph.find_cycle(edges) == ()
    assert graph.find_cycle({**edges, "5000": ["4999"]}) == ("4999", "5000", "4999")


@given(acyclic(), st.sets(st.sampled_from(NAMES)))
def test_stopping_never_deadlocks_and_dependents_go_first(edges, last):
    before = graph.stop_order(edges, last=last)
    stopped: set[str] = set()
    while len(stopped) < len(edges):
        ready = {n for n in edges if n not in stopped and before[n] <= stopped}
        assert ready, "everybody waits for somebody"
        stopped |= ready
    for name, names in graph.dependents(edges).items():
        assert names <= before[name]


def test_what_everything_stands_on_goes_after_those_that_did_not_say_so():
    edges = {"nats": ["disk"], "disk": [], "worker": ["nats"], "web": []}
    before = graph.stop_order(edges, last=["nats"])
    assert before["nats"] == {"worker", "web"}
    assert before["disk"] == {"nats"}
    assert before["web"] == set()


def test_the_closure_of_a_selection():
    edges = {"web": ["api"], "api": ["db", "gone"], "db": [], "other": []}
    assert graph.closure(edges, ["web"]) == {"web", "api", "db"}
