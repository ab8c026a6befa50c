"""Small pure parts: environments, dependencies, notifications, announcements."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.kinds import environment
from naq.supervisor.kinds.schema import Invalid
from naq.supervisor.model.board import LastExit, Status
from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.graph import Met, Pending, Unmet, evaluate
from naq.supervisor.model.lifecycle import Complete, Fail, History, Restart, State
from naq.supervisor.model.rundir import RunDir
from naq.supervisor.model.spec import Condition, Dependency, ServiceSpec
from naq.supervisor.process.notify_socket import parse_notification
from naq.supervisor.project.events import describe
from naq.supervisor.replica import announce

# ------------------------------------------------------------------ environment


def build(*layers, base=None, **fields):
    return environment.build(base or {}, layers, fields)


def test_layers_see_what_is_below_and_above_them():
    env = build({"A": "${X}-1"}, {"B": "${A}-2", "C": "${B}"}, base={"X": "x"})
    assert env == {"X": "x", "A": "x-1", "B": "x-1-2", "C": "x-1-2"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${X}", "x"),
        ("${NO}", ""),
        ("${NO:-d}", "d"),
        ("${X:-d}", "x"),
        ("${EMPTY:-d}", "d"),
        ("${X:?m}", "x"),
        ("$$X $X $", "$X $X $"),
        ("$${X}", "${X}"),
        ("a${X}b${X}c", "axbxc"),
        ("{service}", "web"),
    ],
)
def test_interpolation(written, value):
    assert build({"V": written}, base={"X": "x", "EMPTY": ""}, service="web")["V"] == value


@pytest.mark.parametrize("written", ["${NO:?say why}", "${}", "${X", "${X+y}", "${1}"])
def test_what_cannot_be_interpolated(written):
    with pytest.raises(Invalid, match=r"^V: "):
        build({"V": written}, base={})


def test_a_value_from_outside_is_not_interpolated_again():
    assert build({"V": "${X}"}, base={"X": "${Y} {service}"}, service="s")["V"] == "${Y} {service}"


def test_none_unsets():
    assert build({"A": None, "B": None}, base={"A": "1"}) == {}


def test_what_was_meant_for_the_supervisor_is_not_inherited():
    kept = environment.inherited(
        {"HOME": "/", "NOTIFY_SOCKET": "x", "LISTEN_FDS": "1", "NAQ_LIFELINE_FD": "3"}
    )
    assert kept == {"HOME": "/", "PYTHONUNBUFFERED": "1"}


# ------------------------------------------------------------------ dependencies


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


# ------------------------------------------------------------------ notifications


@given(st.binary(max_size=100))
def test_any_datagram_is_parsed(datagram):
    assert all(parse_notification(datagram))


def test_notifications():
    assert parse_notification(b"READY=1\nSTATUS=a=b\nnothing\n=x\nEMPTY=") == {
        "READY": "1",
        "STATUS": "a=b",
        "EMPTY": "",
    }


# ------------------------------------------------------------------ what is said and reported


@pytest.mark.parametrize(
    ("said", "text", "level"),
    [
        (announce.ready(7, 0.0234, waited=True), "ready after 23ms (pid 7)", "info"),
        (announce.ready(7, 0.02, waited=False), "running (pid 7)", "info"),
        (announce.ready(None, 1.5, waited=True), "ready after 1.5s", "info"),
        (announce.skipped("db is FAILED"), "skipped: db is FAILED", "warning"),
        (announce.still_stopping(9.04), "is still stopping; to be killed in 9s", "info"),
    ],
)
def test_announcements(said, text, level):
    assert said == (text, level)


def test_ends_are_announced_with_what_follows():
    spec, cause, history = ServiceSpec(name="s"), Cause.of_returncode(1), History()
    said = [
        announce.ended(cause, Restart(0.5, history), spec, 1).text,
        announce.ended(cause, Restart(0.0, history), spec, 0).text,
        announce.ended(cause, Restart(30.0, history, degraded=True), spec, 9).text,
        announce.ended(cause, Fail("restart = never", history), spec, 0).text,
        announce.ended(cause, Complete(history), spec, 0).text,
    ]
    assert said == [
        "ended: exit code 1; restart in 500ms (1 of 8 in 5m)",
        "ended: exit code 1; restart",
        "is in a crash loop: exit code 1; next try in 30s",
        "failed: exit code 1; not restarted: restart = never",
        "completed",
    ]


def test_a_report_has_the_promised_fields():
    end = LastExit(Cause(kind=CauseKind.SHUTDOWN), None, 15, 0.0)
    row = describe([Status(service="s", replica=1, name="s", last_exit=end)], 5.0)[0]
    promised = (
        "service replica state want ready pid restarts uptime_s rss_bytes cpu_percent last_exit"
    )
    assert set(promised.split()) <= set(row)
    assert row["last_exit"]["cause"] == "shutdown"
    assert row["last_exit"]["signal"] == 15
    assert row["last_exit"]["at"] == "1970-01-01T00:00:00.000+00:00"


def test_a_run_directory_is_found_from_below(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert RunDir.find(below) is None
    RunDir.of(tmp_path).create()
    assert RunDir.find(below) == RunDir.of(tmp_path)


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    deep = tmp_path / ("x" * 100)
    run_dir = RunDir.of(deep)
    assert run_dir.path == deep / ".naq" / "run"
    assert str(run_dir.socket).startswith("/run/user/7/naq-")
    assert RunDir.of(deep) == run_dir
