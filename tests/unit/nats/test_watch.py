"""Waiting: when it looks, what ends it, and what does not."""

from __future__ import annotations

from contextlib import contextmanager

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.exceptions import NaqConnectionError, ServerRefusedError
from naq.nats import watch
from naq.nats.watch import look_until, pause, tried, watching

AWAY = NaqConnectionError("no answer in time")


class Connection:
    """Delivers what a test says, and nothing by itself."""

    url = "nats://somewhere"

    def __init__(self):
        self.open = True
        self.in_cluster = True
        self.hearing = {}
        self.links = []

    @contextmanager
    def subscription(self, subject, on_messages):
        self.hearing[subject] = on_messages
        try:
            yield
        finally:
            del self.hearing[subject]

    @contextmanager
    def link_listener(self, listener):
        self.links.append(listener)
        try:
            yield
        finally:
            self.links.remove(listener)


class Looks:
    """Answers looks with what a test says, one after the other; the last answer is for ever."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.number = 0
        self.looked = anyio.Event()

    async def __call__(self):
        self.number += 1
        self.looked.set()
        await anyio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return await anyio.sleep_forever() if answer is NEVER else answer


NEVER = object()


@pytest.fixture
def connection():
    return Connection()


@pytest.fixture
def pauses(monkeypatch):
    """The pauses that were taken, all of no length."""
    taken = []

    def no_time(looks, *, first):
        taken.append(looks)
        return 0.0

    monkeypatch.setattr(watch, "pause", no_time)
    return taken


@pytest.fixture
def patient(monkeypatch):
    """Nobody looks again before something happens."""
    monkeypatch.setattr(watch, "pause", lambda looks, *, first: 3600.0)


def waiting(connection, look, hear=lambda message: message, timeout=None):
    return look_until(connection, "it", look=look, hear=hear, what="it", timeout=timeout)


# --------------------------------------------------------------------------- when it looks


def test_pauses_grow_from_an_instant_to_half_a_minute(monkeypatch):
    monkeypatch.setattr(watch, "JITTER", 0.0)

    assert [pause(n) for n in range(1, 10)] == pytest.approx(
        [0.02, 0.06, 0.18, 0.54, 1.62, 4.86, 14.58, 30.0, 30.0]
    )
    assert [pause(n, first=1) for n in range(1, 6)] == pytest.approx([1, 3, 9, 27, 30])


@given(looks=st.integers(0, 10_000), first=st.floats(0.001, 10))
def test_no_pause_is_for_ever(looks, first):
    assert 0 < pause(looks, first=first) <= watch.LONGEST * (1 + watch.JITTER)


@pytest.mark.parametrize(("in_cluster", "first"), [(True, 0.02), (False, 1.0)])
async def test_a_single_server_is_not_asked_again_soon(
    connection, monkeypatch, in_cluster, first, anyio_backend
):
    connection.in_cluster = in_cluster
    firsts = []

    def no_time(looks, *, first):
        firsts.append(first)
        return 0.0

    monkeypatch.setattr(watch, "pause", no_time)

    await waiting(connection, Looks(None, "there"))

    assert firsts == [first]


async def test_what_is_there_is_found_at_the_first_look(connection, pauses, anyio_backend):
    assert await waiting(connection, Looks("there")) == "there"
    assert pauses == []


async def test_it_looks_until_it_finds(connection, pauses, anyio_backend):
    assert await waiting(connection, Looks(None, None, None, "there")) == "there"
    assert pauses == [1, 2, 3]


async def test_a_look_that_gets_no_answer_is_not_an_error(connection, pauses, anyio_backend):
    assert await waiting(connection, Looks(AWAY, AWAY, "there")) == "there"
    assert pauses == [1, 2]


async def test_it_looks_at_once_when_the_link_is_back(connection, patient, anyio_backend):
    look = Looks(None, "there")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting, connection, look)
        await look.looked.wait()
        for listener in connection.links:
            listener(False)
            listener(True)
    assert look.number == 2


async def test_after_a_reconnect_pauses_are_short_again(connection, monkeypatch, anyio_backend):
    taken = []

    def back_at_the_third(looks, *, first):
        taken.append(looks)
        if len(taken) == 3:
            connection.links[0](True)
        return 0.0

    monkeypatch.setattr(watch, "pause", back_at_the_third)

    await waiting(connection, Looks(None, None, None, None, "there"))

    assert taken == [1, 2, 3, 1]


# --------------------------------------------------------------------------- what ends it


async def test_a_message_ends_it(connection, patient, anyio_backend):
    look = Looks(None)
    found = []

    async def wait():
        found.append(await waiting(connection, look, hear=lambda m: None if m == "no" else m))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await look.looked.wait()
        connection.hearing["it"](["no"])
        await anyio.wait_all_tasks_blocked()
        assert found == []
        connection.hearing["it"](["no", "yes", "no"])

    assert found == ["yes"]
    assert look.number == 1


async def test_a_message_ends_a_look_that_gets_no_answer(connection, patient, anyio_backend):
    look = Looks(NEVER)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting, connection, look)
        await look.looked.wait()
        connection.hearing["it"](["yes"])


async def test_what_cannot_be_read_is_raised(connection, patient, anyio_backend):
    def hear(message):
        raise ValueError(message)

    look = Looks(None)

    async def wait():
        with pytest.raises(ValueError, match="rubbish"):
            await waiting(connection, look, hear)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await look.looked.wait()
        connection.hearing["it"](["rubbish"])


@pytest.mark.parametrize("error", [ServerRefusedError("not allowed"), ValueError("rubbish")])
async def test_what_no_further_look_would_cure_is_raised(connection, pauses, error, anyio_backend):
    with pytest.raises(type(error), match=str(error)):
        await waiting(connection, Looks(None, error))


async def test_the_end_of_the_connection_is_raised(connection, patient, anyio_backend):
    look = Looks(None)

    async def wait():
        with pytest.raises(NaqConnectionError, match="was closed"):
            await waiting(connection, look)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait)
        await look.looked.wait()
        connection.open = False
        for listener in connection.links:
            listener(False)

    with pytest.raises(NaqConnectionError, match="was closed"):
        await waiting(connection, Looks("there"))


@pytest.mark.parametrize("answer", [None, AWAY, NEVER], ids=["nothing", "no answer", "never"])
async def test_time_is_up_whatever_looks_bring(connection, answer, anyio_backend):
    with pytest.raises(TimeoutError):
        await waiting(connection, Looks(answer), timeout=0.05)
    assert not connection.hearing
    assert not connection.links


# --------------------------------------------------------------------------- for who looks anyway


async def test_signs_are_messages_and_reconnects(connection, anyio_backend):
    heard = []
    with watching(connection, "a", "b", hear=heard.extend) as signs:
        assert not await signs.sign(within=0)
        connection.hearing["b"](["message"])
        assert await signs.sign(within=3600)
        assert not await signs.sign(within=0)
        connection.links[0](False)
        assert not await signs.sign(within=0)
        connection.links[0](True)
        assert await signs.sign(within=3600)
    assert heard == ["message"]


async def test_a_question_that_will_be_asked_again(connection, anyio_backend):
    assert await tried(connection, Looks("there")(), what="it") == "there"
    assert await tried(connection, Looks(AWAY)(), what="it") is None
    with pytest.raises(ServerRefusedError):
        await tried(connection, Looks(ServerRefusedError("no"))(), what="it")
