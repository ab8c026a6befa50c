"""The connection: answers, losses, refusals; a server of its own where it is to be harmed."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from contextlib import ExitStack, asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from naq.exceptions import (
    ConfigurationError,
    NaqConnectionError,
    PayloadTooLargeError,
    ServerRefusedError,
)
from naq.jobs.deadletters import DeadLetters
from naq.jobs.layout import ensure_consumer, ensure_streams
from naq.jobs.presence import list_workers
from naq.nats.connection import connect, current_connection
from naq.nats.jetstream import MESSAGE_ID, STREAM_NOT_FOUND, TTL
from naq.nats.link.dial import MINIMUM_SERVER
from naq.services.server import EmbeddedServer, find_binary
from naq.settings import Settings
from naq.worker.worker import Worker


async def test_a_store_is_acknowledged_with_its_place(connection):
    await ensure_streams(connection)
    names = connection.names

    first = await connection.store(names.result("a"), b"1")
    second = await connection.store(names.result("b"), b"2")

    assert (first.stream, first.duplicate) == (names.results_stream, False)
    assert second.seq == first.seq + 1
    assert (await connection.streams.get(names.results_stream, names.result("a"))).data == b"1"


async def test_a_failed_compare_and_set_says_so(connection):
    await ensure_streams(connection)
    subject = connection.names.result("a")
    await connection.store(subject, b"1")

    with pytest.raises(ServerRefusedError) as caught:
        await connection.store(subject, b"2", {"Nats-Expected-Last-Subject-Sequence": "0"})

    assert caught.value.code == 10071
    assert subject in str(caught.value)


async def test_what_is_too_large_is_not_sent_and_the_connection_lives_on(connection):
    await ensure_streams(connection)
    subject = connection.names.result("a")

    with pytest.raises(PayloadTooLargeError) as caught:
        await connection.store(subject, b"x" * (connection.max_payload + 1))
    assert caught.value.limit == connection.max_payload
    # Headers count, too: they are what makes this one too large.
    with pytest.raises(PayloadTooLargeError):
        await connection.store(subject, b"x" * (connection.max_payload - 20), {"A": "b" * 30})

    assert (await connection.store(subject, b"x" * 1000)).seq


async def test_many_stores_each_have_their_answer(connection):
    await ensure_streams(connection)
    names = connection.names
    free = {"Nats-Expected-Last-Subject-Sequence": "0"}

    answers = await connection.store_many(
        [*range(300), 7, 9], lambda i: (names.result(f"r{i}"), b"x", free)
    )

    assert [getattr(answer, "code", 0) for answer in answers] == [0] * 300 + [10071] * 2


@pytest.mark.parametrize("fresh", [True, False])
async def test_bulk_answers_are_true_whichever_way_they_go(connection, fresh):
    await ensure_streams(connection)
    names = connection.names
    taken = names.job("q", "taken")
    await connection.store(taken, b"x")
    items = [f"j{i}" for i in range(200)]
    items[77] = "taken"

    answers = await connection.store_many(
        items,
        lambda i: (names.job("q", i), b"x", {"Nats-Expected-Last-Subject-Sequence": "0"}),
        fresh=fresh,
    )

    refused = [i for i, answer in enumerate(answers) if isinstance(answer, Exception)]
    assert refused == [77]
    assert answers[77].code == 10071
    count = await connection.streams.count(names.jobs_stream, f"{names.prefix}.j.q.>")
    assert count == 200


async def test_pages_of_a_stream(connection):
    await ensure_streams(connection)
    names = connection.names
    await connection.store_many(range(30), lambda i: (names.dead_letter("q", str(i)), b"x", None))
    streams, letters = connection.streams, (names.results_stream, names.dead_letter("q", "*"))

    first, more = await streams.page(*letters, limit=20)
    rest, yet_more = await streams.page(*letters, after=first[-1].seq, limit=20)
    scanned = [message.seq async for message in streams.all(*letters, page=7)]
    part = [message.seq async for message in streams.all(*letters, page=7, after=4, before=20)]

    assert [names.parts(m.subject).id for m in first + rest] == [str(i) for i in range(30)]
    assert (len(first), more, yet_more) == (20, True, False)
    assert scanned == [message.seq for message in first + rest]
    assert part == list(range(5, 20))
    assert await streams.page(names.results_stream, names.dead_letter("none", "*")) == ([], False)
    assert [
        m async for m in streams.all(names.results_stream, names.dead_letter("none", "*"))
    ] == []


@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])
async def test_a_page_of_large_messages_is_not_the_last_one(connection):
    """The server ends an answer at 64 MiB, however many messages were asked for."""
    await ensure_streams(connection)
    names, letters = connection.names, DeadLetters(connection)

    def large(i):
        return names.dead_letter("q", str(i)), bytes(900_000), {MESSAGE_ID: str(i)}

    await connection.store_many(range(80), large)

    first, next_page = await letters.page(limit=256)
    rest, end = await letters.page(limit=256, after=next_page)
    matching = names.results_stream, names.dead_letter("q", "*")

    assert 0 < len(first) < 80
    assert [letter.id for letter in first + rest] == [str(i) for i in range(80)]
    assert end == 0
    assert [message.seq async for message in connection.streams.all(*matching)] == [*range(1, 81)]


async def test_only_the_first_of_two_replaces_a_message(connection):
    await ensure_streams(connection)
    names, streams = connection.names, connection.streams
    subject = names.result("a")

    first = await streams.put_if(subject, b"1", expected=0)
    again = await streams.put_if(subject, b"2", expected=0)
    second = await streams.put_if(subject, b"3", {TTL: "60"}, expected=first.seq)
    late = await streams.put_if(subject, b"4", expected=first.seq)

    assert (again, late) == (None, None)
    kept = await streams.get(names.results_stream, subject)
    assert (kept.data, kept.seq, kept.headers[TTL]) == (b"3", second.seq, "60")
    with pytest.raises(ServerRefusedError, match="TTL"):
        await streams.put_if(names.result("b"), b"1", {TTL: "rubbish"}, expected=0)


async def test_all_consumers_are_listed(connection):
    await ensure_streams(connection)
    names = connection.names
    async with anyio.create_task_group() as tasks:
        for i in range(300):  # the server lists 256 at a time
            tasks.start_soon(ensure_consumer, connection, f"q{i}")

    found = await connection.streams.consumers(names.jobs_stream)

    assert {info.name for info in found} == {names.consumer(f"q{i}") for i in range(300)}
    assert {info.config.ack_wait for info in found} == {30 * 10**9}


async def test_an_error_of_the_api_has_its_code(connection):
    with pytest.raises(ServerRefusedError) as caught:
        await connection.streams.stream_info("there_is_none")
    assert caught.value.code == STREAM_NOT_FOUND


async def test_nobody_to_ask_is_told_at_once(connection):
    with anyio.fail_after(2):
        assert await connection.ask("nobody.listens", timeout=30) is None
        assert await connection.gather("nobody.listens", timeout=30) == []


async def test_a_subscription_hears_and_ends(connection):
    heard = []
    with connection.subscription("some.*", heard.extend):
        connection.publish("some.thing", b"1", headers={"A": "b"})
        await connection.ask("fence", timeout=1)
        await anyio.sleep(0.05)
    connection.publish("some.thing", b"2")
    await connection.ask("fence", timeout=1)
    await anyio.sleep(0.05)

    assert [(m.subject, m.data, m.headers) for m in heard] == [("some.thing", b"1", {"A": "b"})]


async def test_a_cancelled_question_does_no_harm(connection):
    with anyio.move_on_after(0.01):
        await connection.request("nobody.listens", timeout=30)

    await ensure_streams(connection)
    assert (await connection.store(connection.names.result("a"), b"1")).seq


async def test_the_surrounding_connection_is_found(settings, anyio_backend):
    assert current_connection() is None
    async with connect(settings=settings) as outer:
        assert current_connection() is outer
        async with connect(settings=settings) as inner:
            assert current_connection() is inner
        assert current_connection() is outer
    assert current_connection() is None


async def test_an_error_in_the_block_comes_out_as_it_is(settings, anyio_backend):
    with pytest.raises(KeyError, match="mine"):
        async with connect(settings=settings):
            raise KeyError("mine")


# --------------------------------------------------------------------------- refusals


async def test_no_server_is_said_at_once_in_one_line(anyio_backend):
    with anyio.fail_after(5):
        with pytest.raises(NaqConnectionError, match=r"127.0.0.1:1 .*connection refused.*naq up"):
            async with connect("nats://127.0.0.1:1", settings=Settings()):
                pass


async def test_a_wrong_token_is_said_without_showing_it(nats, anyio_backend):
    with anyio.fail_after(5):
        with pytest.raises(NaqConnectionError, match="refuses these credentials") as caught:
            async with connect(f"nats://wr0ng@127.0.0.1:{nats.port}", settings=Settings()):
                pass

    assert "wr0ng" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://x", "nats://", "nats://h:port", "://", "nats://h:99999"])
async def test_a_url_that_is_none(url, anyio_backend):
    with pytest.raises(ConfigurationError, match="NATS URL"):
        async with connect(url, settings=Settings()):
            pass


@asynccontextmanager
async def plain_server(home, *args):
    """A nats-server without JetStream."""
    home.mkdir(exist_ok=True)
    port = EmbeddedServer(binary="x", run_dir=home / "r", store_dir=home / "s").port
    process = subprocess.Popen(  # noqa: ASYNC220
        [find_binary(), "-a", "127.0.0.1", "-p", str(port), *args],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with anyio.fail_after(10):
            while True:
                try:
                    await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await anyio.sleep(0.02)
        yield f"nats://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


async def test_a_server_without_jetstream(tmp_path, anyio_backend):
    async with plain_server(tmp_path / "n") as url:
        with pytest.raises(NaqConnectionError, match="without JetStream"):
            async with connect(url, settings=Settings()):
                pass


async def test_a_server_that_is_too_old(settings, anyio_backend, monkeypatch):
    monkeypatch.setattr("naq.nats.link.dial.MINIMUM_SERVER", (99, 0))
    with pytest.raises(NaqConnectionError, match=r"too old: naq needs 99\.0"):
        async with connect(settings=settings):
            pass
    assert MINIMUM_SERVER == (2, 14)


async def test_a_stream_of_someone_else_is_not_touched(connection):
    names = connection.names
    await connection.streams.api(
        f"$JS.API.STREAM.CREATE.{names.jobs_stream}",
        {"name": names.jobs_stream, "subjects": [f"{names.prefix}.j.>"], "retention": "limits"},
    )

    with pytest.raises(ConfigurationError, match=r"retention is 'limits'") as caught:
        await ensure_streams(connection)

    assert "NAQ_PREFIX" in str(caught.value)


async def test_declaring_twice_is_declaring_once(connection, settings):
    await ensure_streams(connection)
    assert await ensure_consumer(connection, "q") == 30
    async with connect(settings=settings) as other:
        await ensure_streams(other)
        assert await ensure_consumer(other, "q") == 30


# --------------------------------------------------------------------------- losses


async def test_stores_outlast_a_killed_server(server, own, anyio_backend):
    async with connect(settings=own) as connection:
        await ensure_streams(connection)
        names = connection.names
        await connection.store(names.result("before"), b"1")
        answers = {}
        async with anyio.create_task_group() as tasks:

            async def store(name):
                answers[name] = await connection.store(
                    names.result(name), b"x", {"Nats-Expected-Last-Subject-Sequence": "0"}
                )

            server.kill()
            for i in range(50):
                tasks.start_soon(store, f"r{i}")
            await anyio.sleep(0.1)
            await server.start()

        assert len(answers) == 50
        assert (
            await connection.streams.get(names.results_stream, names.result("before")) is not None
        )
        count = await connection.streams.count(names.results_stream, names.result("*"))
        assert count == 51


async def test_a_bulk_outlasts_a_killed_server(server, own, anyio_backend):
    async with connect(settings=own) as connection:
        await ensure_streams(connection)
        names = connection.names
        answers = []
        async with anyio.create_task_group() as tasks:

            async def store():
                free = {"Nats-Expected-Last-Subject-Sequence": "0"}
                answers.extend(
                    await connection.store_many(
                        range(30_000),
                        lambda i: (names.job("q", str(i)), b"x" * 200, free),
                        fresh=True,
                    )
                )

            tasks.start_soon(store)
            await anyio.sleep(0.15)
            server.kill()
            await server.start()

        assert not [answer for answer in answers if isinstance(answer, Exception)]
        count = await connection.streams.count(names.jobs_stream, f"{names.prefix}.j.q.>")
        assert count == 30_000


async def test_a_frozen_server_is_noticed_and_outlasted(server, own, anyio_backend):
    """Also with more on the way than the socket takes, which it never takes."""
    async with connect(settings=own) as connection, anyio.create_task_group() as tasks:
        await ensure_streams(connection)
        names = connection.names
        answers, link = {}, []

        async def store(name, size):
            answers[name] = await connection.store(names.result(name), b"x" * size)

        with connection.link_listener(link.append):
            server.process.send_signal(signal.SIGSTOP)
            for number in range(40):
                tasks.start_soon(store, f"large{number}", 500_000)
            with anyio.fail_after(15):
                while not link:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
            assert not connection.connected
            tasks.start_soon(store, "late", 1)
            server.process.send_signal(signal.SIGCONT)
            with anyio.fail_after(15):
                while len(answers) < 41:  # noqa: ASYNC110
                    await anyio.sleep(0.05)
        assert link[:2] == [False, True]
    assert all(answer.seq for answer in answers.values())


async def test_more_than_the_socket_takes_is_written_when_it_takes_more(server, own, anyio_backend):
    async with connect(settings=own) as connection, anyio.create_task_group() as tasks:
        await ensure_streams(connection)
        names, seqs, heard = connection.names, [], []

        async def store(number):
            seqs.append((await connection.store(names.result(str(number)), b"x" * 500_000)).seq)

        with connection.subscription("some.*", heard.extend):
            server.process.send_signal(signal.SIGSTOP)
            for number in range(40):
                tasks.start_soon(store, number)
            await anyio.sleep(0.5)  # nothing tells that a socket is full
            connection.publish("some.thing")
            server.process.send_signal(signal.SIGCONT)
            with anyio.fail_after(15):
                while len(seqs) < 40 or not heard:  # noqa: ASYNC110
                    await anyio.sleep(0.02)
    assert sorted(seqs) == list(range(min(seqs), min(seqs) + 40))  # each once


async def test_subscriptions_stand_again_after_a_restart(server, own, anyio_backend):
    async with connect(settings=own) as connection:
        heard = []
        with connection.subscription("some.*", heard.extend):
            server.kill()
            await server.start()
            with anyio.fail_after(15):
                while not heard:
                    connection.publish("some.thing")
                    await anyio.sleep(0.05)


async def test_the_next_message_is_found_wherever_it_lies(connection):
    await ensure_streams(connection)
    names, stream = connection.names, connection.names.jobs_stream
    mail, other = names.queue_filter("mail"), names.queue_filter("other")
    assert await connection.streams.next(stream, mail, after=0) is None  # of nothing

    for subject in ("other", "mail", "other", "mail"):
        await connection.store(names.job(subject, secrets.token_hex(4)), b"1")
    assert (await connection.streams.next(stream, other, after=0)).seq == 2
    assert (await connection.streams.next(stream, mail, after=0)).seq == 3
    assert (await connection.streams.next(stream, mail, after=3)).seq == 5
    assert await connection.streams.next(stream, mail, after=5) is None
    await connection.streams.remove(stream, 2)
    assert (await connection.streams.next(stream, other, after=0)).seq == 4


async def test_the_stream_of_jobs_begins_with_a_message_that_stays(connection):
    names = connection.names
    await ensure_streams(connection)
    await connection.store(names.job("q", "a"), b"1")
    async with connect(settings=connection.settings) as second:
        await ensure_streams(second)  # it is there already
        await second.store(names.job("q", "b"), b"1")
    found, _ = await connection.streams.page(names.jobs_stream, ">")
    assert [one.subject for one in found] == [
        names.keeper,
        names.job("q", "a"),
        names.job("q", "b"),
    ]
    assert await connection.streams.purge(names.jobs_stream, names.queue_filter("q")) == 2
    kept = await connection.streams.get(names.jobs_stream, names.keeper)
    assert kept.seq == 1


async def _ask(connection, asked):
    asked.append(await list_workers(connection))


async def test_who_is_there_is_known_again_after_a_restart(server, own, anyio_backend):
    """The bucket of presence is in memory: nobody but those who are connected can make it anew."""
    async with connect(settings=own) as connection, anyio.create_task_group() as tasks:
        worker = Worker(["default"], name="ada", settings=own)
        await tasks.start(worker.run)
        assert [info.id for info in await list_workers(connection)] == ["ada"]

        server.kill()
        with anyio.fail_after(20):
            asked = []
            tasks.start_soon(_ask, connection, asked)  # goes on where the server is not there
            await server.start()
            while not asked:  # noqa: ASYNC110
                await anyio.sleep(0.05)
            while [info.id for info in await list_workers(connection)] != ["ada"]:  # noqa: ASYNC110
                await anyio.sleep(0.1)
        worker.stop()


async def test_what_the_server_refuses_for_ever_does_not_end_the_connection(
    server, own, anyio_backend
):
    """After an error it does not know, nats-py closes for good; a new client takes over."""
    async with connect(settings=own) as connection:
        await ensure_streams(connection)
        connection.publish("bad subject", b"x")  # the parser of the server is not amused
        connection.publish("a", b"x" * (2 << 20))  # nor is it of this size

        with anyio.fail_after(20):
            assert (await connection.store(connection.names.result("a"), b"1")).seq


async def test_no_answer_in_time_is_an_error_and_no_hang(server, own, anyio_backend):
    async with connect(settings=own) as connection:
        await ensure_streams(connection)
        server.kill()
        with anyio.fail_after(10):
            with pytest.raises(NaqConnectionError, match="not connected"):
                await connection.store(connection.names.result("a"), b"1", timeout=0.5)
            with pytest.raises(NaqConnectionError):
                await connection.request("$JS.API.INFO", timeout=0.5)


async def test_closing_while_the_server_is_away_does_not_hang(server, own, anyio_backend):
    with anyio.fail_after(10):
        async with connect(settings=own):
            server.kill()
            await anyio.sleep(0.1)


async def test_a_connection_that_has_ended_says_so(settings, anyio_backend):
    heard = []
    async with connect(settings=settings) as connection:
        stack = ExitStack()
        stack.enter_context(connection.subscription("a", heard.append))
        pull = connection.pull("s", "c", on_jobs=heard.append, on_lost=heard.append)

    with anyio.fail_after(5):
        for question in (
            connection.request("a"),
            connection.store("a", b"1"),
            connection.streams.get("s", "a"),
        ):
            with pytest.raises(NaqConnectionError, match="closed"):
                await question
        (answer,) = await connection.store_many(["a"], lambda subject: (subject, b"1", None))
        assert "closed" in str(answer)
        assert await connection.ask("a", timeout=30) is None
        connection.publish("a", b"1")
        pull.request(1)
        await pull.stop()
    stack.close()
    assert heard == []


async def test_a_full_disk_is_a_clear_error_and_nothing_is_stored(server, own, anyio_backend):
    async with connect(settings=own) as connection:
        await ensure_streams(connection)
        names = connection.names
        limited = {
            "name": names.jobs_stream,
            "subjects": [
                f"{names.prefix}.{kind}.>" for kind in ("j", "s", "c", "cs", "t", "u", "w")
            ],
            "max_msg_size": 100,
        }
        info = await connection.streams.api(f"$JS.API.STREAM.INFO.{names.jobs_stream}")
        await connection.streams.api(
            f"$JS.API.STREAM.UPDATE.{names.jobs_stream}", {**info["config"], **limited}
        )

        with pytest.raises(ServerRefusedError, match="maximum"):
            await connection.store(names.job("q", "a"), b"x" * 200)
        answers = await connection.store_many(
            range(100),
            lambda i: (names.job("q", str(i)), b"x" * (200 if i == 50 else 5), None),
            fresh=True,
        )

        assert [i for i, answer in enumerate(answers) if isinstance(answer, Exception)] == [50]


def test_the_binary_is_looked_for_where_it_should_be(tmp_path):
    with pytest.raises(ConfigurationError, match="not an executable"):
        find_binary(tmp_path / "nothing")
    assert os.access(find_binary(), os.X_OK)


async def test_an_opening_is_given_up_at_any_moment(settings):
    """Also at the one between a client that has connected and a caller that hears of it."""
    for step in range(40):
        with anyio.move_on_after(step * 0.0005):
            async with connect(settings=settings):
                await anyio.lowlevel.checkpoint()
    async with connect(settings=settings) as connection:
        assert connection.connected
