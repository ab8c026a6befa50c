"""The table and the decision, as properties."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from naq.supervisor.model.causes import Cause, CauseKind
from naq.supervisor.model.lifecycle import (
    PARKED,
    RUNNING,
    SHORT_RUN,
    TABLE,
    Complete,
    Escalate,
    Event,
    Fail,
    History,
    LifecycleError,
    Restart,
    State,
    decide,
    transition,
)
from naq.supervisor.model.spec import Backoff, OnExhausted, Policy, RestartSpec, ServiceSpec

UNREQUESTED = [
    CauseKind.SIGNAL,
    CauseKind.CRASH,
    CauseKind.SPAWN_ERROR,
    CauseKind.START_TIMEOUT,
    CauseKind.LIVENESS,
    CauseKind.WATCHDOG,
]


def cause_of(kind: CauseKind, code: int | None = None) -> Cause:
    return Cause(kind=kind, code=code, signal=9 if kind is CauseKind.SIGNAL else None)


exits = st.builds(cause_of, st.just(CauseKind.EXIT), st.integers(0, 255))


causes = st.one_of(exits, st.builds(cause_of, st.sampled_from(UNREQUESTED)))


backoffs = st.builds(
    Backoff,
    initial=st.floats(0, 60),
    factor=st.floats(1, 10),
    maximum=st.floats(0, 600),
    jitter=st.floats(0, 1),
)


restarts = st.builds(
    RestartSpec,
    policy=st.sampled_from(Policy),
    backoff=backoffs,
    reset_after=st.floats(0, 600),
    max_restarts=st.integers(0, 20),
    within=st.floats(0.1, 600),
    on_exhausted=st.sampled_from(OnExhausted),
)


specs = st.builds(ServiceSpec, name=st.just("s"), restart=restarts, oneshot=st.booleans())


def spec(**restart: object) -> ServiceSpec:
    return ServiceSpec(name="s", restart=RestartSpec(**restart))


def test_every_state_has_a_row_and_every_row_leads_to_a_state_with_one():
    assert set(TABLE) == set(State)
    assert {state for row in TABLE.values() for state in row.values()} <= set(State)


def test_every_state_can_be_reached_from_down():
    reached, pending = set(), [State.DOWN]
    while pending:
        state = pending.pop()
        if state not in reached:
            reached.add(state)
            pending += TABLE[state].values()
    assert reached == set(State)


def test_every_event_is_used():
    assert {event for row in TABLE.values() for event in row} == set(Event)


@given(st.sampled_from(State), st.sampled_from(Event))
def test_an_event_without_an_entry_is_an_error(state, event):
    if event in TABLE[state]:
        assert transition(state, event) is TABLE[state][event]
    else:
        with pytest.raises(LifecycleError, match=str(state)):
            transition(state, event)


@given(st.sampled_from(State))
def test_a_stop_leads_down_from_everywhere_something_could_start_or_runs(state):
    if state in PARKED:
        assert Event.STOP not in TABLE[state]
    elif state is not State.STOPPING:
        after = transition(state, Event.STOP)
        assert after is (State.STOPPING if state in RUNNING else State.DOWN)


@given(st.sampled_from(sorted(PARKED)))
def test_parked_states_are_left_only_by_somebody_wanting_it(state):
    assert set(TABLE[state]) == {Event.UP}


class LifeOfAReplica(RuleBasedStateMachine):
    """Any sequence of what the world, the clock and people may do to a replica."""

    @initialize(spec=specs)
    def begin(self, spec):
        self.spec = spec
        self.state = State.DOWN
        self.history = History()
        self.now = 0.0
        self.alive = False

    def move(self, event):
        if event not in TABLE[self.state]:
            return False
        self.state = transition(self.state, event)
        if self.state is State.STARTING:
            self.alive = True
            self.history = self.history.spawned(self.now)
        return True

    @rule(seconds=st.floats(0, 1000))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(event=st.sampled_from([Event.UP, Event.STOP, Event.RECYCLE, Event.MET, Event.UNMET]))
    def something_is_wanted(self, event):
        self.move(event)

    @rule()
    def it_is_ready(self):
        if self.state in (State.STARTING, State.UNREADY):
            self.move(Event.READY)
            self.history = self.history.became_ready(self.now)

    @rule()
    def it_is_not_ready_any_more(self):
        self.move(Event.NOT_READY)

    @rule()
    def it_misbehaves(self):
        self.move(Event.FAULT)

    @rule(event=st.sampled_from([Event.GONE, Event.GONE_AGAIN, Event.GONE_FAULT]))
    def it_has_stopped(self, event):
        if self.state is State.STOPPING:
            self.alive = False
            self.move(event)

    @rule()
    def the_timer_rings(self):
        self.move(Event.TIMER)

    @rule(cause=causes)
    def it_ends(self, cause):
        if not self.move(Event.ENDED):
            return
        self.alive = False
        match decide(self.spec, cause, self.history, self.now):
            case Restart(degraded=degraded) as decision:
                event = Event.DEGRADE if degraded else Event.RETRY
            case Complete() as decision:
                event = Event.COMPLETE
            case decision:
                event = Event.FAIL
        self.history = decision.history
        assert self.move(event)

    @invariant()
    def something_runs_exactly_in_the_running_states(self):
        if hasattr(self, "state"):
            assert self.alive == (self.state in RUNNING) or self.state is State.EXITED

    @invariant()
    def the_history_is_bounded(self):
        if hasattr(self, "history"):
            assert len(self.history.window) <= self.spec.restart.max_restarts + 1


TestLifeOfAReplica = LifeOfAReplica.TestCase


@given(specs, causes, st.floats(0, 1e6), st.integers(0, 100))
def test_every_decision_is_well_formed(spec, cause, now, failures):
    history = History(failures=failures, started_at=max(0.0, now - 5))
    decision = decide(spec, cause, history, now)
    if isinstance(decision, Restart):
        longest = max(spec.restart.backoff.maximum, SHORT_RUN)
        assert 0 <= decision.delay <= longest * (1 + spec.restart.backoff.jitter) + 1e-9
        assert math.isfinite(decision.delay)
        assert spec.restart.policy is not Policy.NEVER


@given(specs, st.floats(0, 1e6))
def test_78_is_never_restarted(spec, now):
    assert isinstance(decide(spec, cause_of(CauseKind.EXIT, 78), History(), now), Fail)


@given(specs, causes)
def test_a_failure_never_completes_and_a_success_never_fails(spec, cause):
    clean = cause.kind is CauseKind.EXIT and cause.code in spec.success_exit_codes
    decision = decide(spec, cause, History(started_at=0.0), 100.0)
    assert not isinstance(decision, Fail | Escalate if clean else Complete)


@pytest.mark.parametrize(
    ("policy", "code", "expected"),
    [
        (Policy.ALWAYS, 0, Restart),
        (Policy.ALWAYS, 1, Restart),
        (Policy.ON_FAILURE, 0, Complete),
        (Policy.ON_FAILURE, 1, Restart),
        (Policy.NEVER, 0, Complete),
        (Policy.NEVER, 1, Fail),
    ],
)
def test_policies(policy, code, expected):
    decision = decide(
        spec(policy=policy), cause_of(CauseKind.EXIT, code), History(started_at=0.0), 10.0
    )
    assert type(decision) is expected


def test_a_success_code_wins_over_a_fatal_one():
    both = replace(spec(policy=Policy.NEVER), success_exit_codes=(0, 78))
    assert isinstance(decide(both, cause_of(CauseKind.EXIT, 78), History(), 0.0), Complete)


def test_the_delay_doubles_up_to_the_maximum():
    service = spec(backoff=Backoff(initial=1, factor=2, maximum=5, jitter=0), max_restarts=0)
    history, delays = History(started_at=0.0), []
    for _ in range(5):
        decision = decide(service, cause_of(CauseKind.SIGNAL), history, 10.0)
        delays.append(decision.delay)
        history = decision.history
    assert delays == [1, 2, 4, 5, 5]


def test_a_long_ready_time_clears_delay_and_budget_and_a_short_one_does_not():
    service = spec(reset_after=60, max_restarts=2, backoff=Backoff(initial=1, jitter=0))
    tired = History(failures=2, window=(90.0, 95.0), started_at=100.0, ready_at=101.0)
    assert decide(service, cause_of(CauseKind.SIGNAL), tired, 160.9).degraded
    rested = decide(service, cause_of(CauseKind.SIGNAL), tired, 161.0)
    assert (rested.delay, rested.degraded, rested.history.failures) == (1, False, 1)


def test_old_failures_fall_out_of_the_window():
    service = spec(max_restarts=2, within=10)
    history = History(window=(0.0, 1.0), started_at=9.0)
    assert decide(service, cause_of(CauseKind.SIGNAL), history, 9.5).degraded
    assert not decide(service, cause_of(CauseKind.SIGNAL), history, 10.5).degraded


@pytest.mark.parametrize(
    ("word", "expected"),
    [(OnExhausted.DEGRADE, Restart), (OnExhausted.FAIL, Fail), (OnExhausted.SHUTDOWN, Escalate)],
)
def test_a_spent_budget(word, expected):
    service = spec(max_restarts=1, on_exhausted=word)
    history = History(window=(9.0,), started_at=9.0)
    assert type(decide(service, cause_of(CauseKind.CRASH), history, 10.0)) is expected


def test_a_crash_loop_is_never_a_hot_loop():
    service = spec(max_restarts=1, backoff=Backoff(initial=0, maximum=0, jitter=0))
    history = History(window=(9.0,), started_at=9.0)
    assert decide(service, cause_of(CauseKind.CRASH), history, 10.0).delay == SHORT_RUN


def test_a_clean_end_counts_only_if_it_came_at_once():
    service = spec(max_restarts=8, backoff=Backoff(initial=3, jitter=0))
    clean = cause_of(CauseKind.EXIT, 0)
    assert decide(service, clean, History(started_at=0.0), 0.5).history.failures == 1
    late = decide(service, clean, History(started_at=0.0, failures=4), 5.0)
    assert (late.delay, late.history.failures) == (3, 4)


@pytest.mark.parametrize(
    ("cause", "text", "code"),
    [
        (Cause.of_returncode(3), "exit code 3", 3),
        (Cause.of_returncode(-9), "killed by SIGKILL", 137),
        (Cause.of_returncode(-63), "killed by signal 63", 191),
        (Cause(kind=CauseKind.SPAWN_ERROR, message="no"), "no", 126),
        (Cause(kind=CauseKind.START_TIMEOUT), "start timeout", 1),
    ],
)
def test_causes_in_words_and_as_exit_codes(cause, text, code):
    assert str(cause) == text
    assert cause.exit_code == code
