"""Orders of start and stop, for any graph, and whether a dependency is met."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.model import graph
from naq.supervisor.model.board import Status
from naq.supervisor.model.graph import Met, Pending, Unmet, evaluate
from naq.supervisor.model.lifecycle import State
from naq.supervisor.model.spec import Condition, Dependency

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


def status(service: str, state: State, replica: int = 1, runs: int = 1) -> Status:
    name = f"{service}.{replica}"
    return Status(service=service, replica=replica, name=name, state=state, runs=runs)


def verdict(*edges: Dependency, elapsed: float = 0.0, **states: State | list[State]):
    board = {
        name: [status(name, s, i + 1) for i, s in enumerate(s if isinstance(s, list) else [s])]
        for name, s in states.items()
    }
    return evaluate(edges, lambda name: board[name], elapsed)


@given(st.sampled_from(Condition), st.sampled_from(State))
def test_every_condition_and_state_give_a_verdict(condition, state):
    result = verdict(Dependency(service="a", condition=condition), a=state)
    assert isinstance(result, Met | Unmet | Pending)


@pytest.mark.parametrize(
    ("condition", "state", "expected"),
    [
        (Condition.READY, State.READY, Met),
        (Condition.READY, State.UNREADY, Pending),
        (Condition.READY, State.STARTING, Pending),
        (Condition.READY, State.CRASHLOOP, Pending),
        (Condition.READY, State.DOWN, Pending),
        (Condition.READY, State.COMPLETED, Unmet),
        (Condition.READY, State.FAILED, Unmet),
        (Condition.COMPLETED, State.COMPLETED, Met),
        (Condition.COMPLETED, State.FAILED, Unmet),
        (Condition.EXITED, State.FAILED, Met),
        (Condition.EXITED, State.SKIPPED, Unmet),
        (Condition.STARTED, State.STARTING, Met),
    ],
)
def test_conditions(condition, state, expected):
    assert type(verdict(Dependency(service="a", condition=condition), a=state)) is expected


def test_all_replicas_of_all_dependencies_must_be_there():
    edges = [Dependency(service="a"), Dependency(service="b")]
    assert verdict(*edges, a=[State.READY, State.STARTING], b=State.READY) == Pending(None, ("a",))
    assert verdict(*edges, a=State.STARTING, b=State.FAILED) == Unmet("b.1 is FAILED")
    assert verdict() == Met()


def test_what_is_not_required_is_waited_for_but_not_for_ever():
    edge = Dependency(service="a", required=False, timeout=5)
    assert verdict(edge, a=State.STARTING) == Pending(5, ("a",))
    assert verdict(edge, a=State.STARTING, elapsed=5) == Met()
    assert verdict(edge, a=State.FAILED) == Met()


def test_a_timeout():
    edge = Dependency(service="a", timeout=5)
    assert verdict(edge, a=State.STARTING, elapsed=5) == Unmet("a is not ready after 5 s")
