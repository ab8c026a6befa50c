"""The dashboard over real HTTP: pages, actions, live updates, refusals."""

from __future__ import annotations

import http.client
import json
import socket
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import msgspec
import pytest
import trio
import trio.testing
from prometheus_client.parser import text_string_to_metric_families

import naq
from examples.tasks import add
from naq.base.exposition import CONTENT_TYPE
from naq.dashboard.api.parameters import JobsQuery
from naq.dashboard.app import MAX_BODY
from naq.dashboard.data.model import STATES
from naq.dashboard.pages.live import Hub
from naq.dashboard.serve import Dashboard
from naq.exceptions import ConfigurationError
from naq.queue.numbers.metrics import QueueMetrics
from naq.settings import Settings

pytestmark = pytest.mark.parametrize("anyio_backend", [("trio", {})])

TOKEN = "let-me-in"
PROGRAM = {"Authorization": f"Bearer {TOKEN}"}
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def serve(tmp_path, settings):
    @asynccontextmanager
    async def run(**options):
        options = {"settings": settings, "directory": tmp_path} | options
        dashboard = Dashboard(port=0, token=TOKEN, **options)
        async with trio.open_nursery() as nursery:
            await nursery.start(dashboard.run)
            try:
                yield Browser(dashboard.port)
            finally:
                dashboard.stop()

    return run


class Answer:
    def __init__(self, reply, body):
        self.code, self.text = reply.status, body.decode()
        self.headers = reply.headers

    def json(self):
        return json.loads(self.text)


class Browser:
    def __init__(self, port):
        self.port = port

    async def get(self, path, headers=PROGRAM):
        return await trio.to_thread.run_sync(self._ask, "GET", path, headers, None)

    async def post(self, path, fields=(), headers=PROGRAM):
        body = urlencode(dict(fields))
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return await trio.to_thread.run_sync(self._ask, "POST", path, {**kind, **headers}, body)

    async def post_json(self, path, value):
        headers = {"Content-Type": "application/json", **PROGRAM}
        return await trio.to_thread.run_sync(self._ask, "POST", path, headers, json.dumps(value))

    def _ask(self, method, path, headers, body):
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            link.request(method, path, body, dict(headers))
            reply = link.getresponse()
            return Answer(reply, reply.read())
        finally:
            link.close()

    async def log_in(self):
        answer = await self.post("/login", {"token": TOKEN}, {})
        assert answer.code == 302
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=" in cookie
        return {"Cookie": cookie.partition(";")[0]}

    async def ready(self):
        with trio.fail_after(20):
            while (await self.get("/readyz", {})).code != 200:  # noqa: ASYNC110 - HTTP, no event
                await trio.sleep(0.02)


PAGES = [
    "/",
    "/queues/default",
    "/jobs",
    "/jobs?state=running",
    "/jobs?state=scheduled",
    "/jobs?state=completed",
    "/jobs?state=failed&queue=default&function=add",
    "/schedules",
    "/dead",
    "/workers",
    "/services",
]


async def test_pages_and_the_api(serve, queue, run_worker):
    await queue.enqueue(add, 1, EVIL, meta={"note": EVIL})
    failed = await queue.enqueue(add, 1, None, job_id="evil-<script")
    await queue.enqueue_in(3600, add, 1, 2)
    await queue.schedule(add, 1, 2, cron="0 0 1 1 *", schedule_id="new-year")
    async with run_worker():
        with pytest.raises(Exception, match="TypeError"):
            await failed.result(10)
        async with serve() as browser:
            await browser.ready()
            for path in PAGES:
                answer = await browser.get(path)
                assert answer.code == 200, path
                assert EVIL not in answer.text, path
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["Cache-Control"] == "no-store"
            job = await browser.get("/jobs/evil-%3Cscript")
            assert job.code == 200
            assert EVIL not in job.text
            assert "evil-<script" not in job.text
            assert "TypeError" in job.text
            assert (await browser.get("/jobs/nix")).code == 404
            assert (await browser.get("/nix")).code == 404
            assert (await browser.get("/jobs?state=odd")).code == 400
            assert (await browser.get("/jobs?cursor=x")).code == 400

            overview = (await browser.get("/api/overview")).json()
            assert [row["queue"] for row in overview["queues"]] == ["default"]
            dead = (await browser.get("/api/jobs?state=failed")).json()
            assert failed.id in {row["id"] for row in dead["jobs"]}
            schedules = (await browser.get("/api/schedules")).json()["rows"]
            assert {row["kind"] for row in schedules} == {"schedule", "delayed"}
            assert (await browser.get("/api/workers")).json()[0]["status"] in ("idle", "busy")
            document = (await browser.get("/api/openapi.json")).json()
            assert "/api/jobs/{id}" in document["paths"]
            assert [m["done"] for m in (await browser.get("/api/minutes")).json()][:3] == [0, 0, 0]
            assert (await browser.get("/api/minutes?queue=default")).code == 200
            for path, code in (
                ("/api/nix", 404),
                ("/api/jobs/nix", 404),
                ("/api/jobs/a%2Fb", 404),
                ("/api/jobs/*", 400),
                ("/api/jobs?limit=0", 400),
                ("/api/jobs?queue=*", 400),
                ("/api/jobs?limits=1", 400),
                ("/api/jobs?limit=1&limit=2", 400),
                ("/api/minutes?queue=nix", 404),
                ("/api/services/nix/lines", 404),
                ("/api/queues/default/pause", 405),
                ("/api/services", 404),
            ):
                answer = await browser.get(path)
                assert (answer.code, list(answer.json())) == (code, ["error"])


async def test_nobody_without_a_token(serve):
    async with serve() as browser:
        for path in ("/", "/jobs", "/services", "/events?page=/", "/api/overview", "/nix"):
            assert (await browser.get(path, {})).code == 401
            assert (await browser.get(path, {"Authorization": "Bearer x"})).code == 401
        assert (await browser.post("/queues/default/pause", {}, {})).code == 401
        assert (await browser.get("/healthz", {})).code == 200
        assert (await browser.post("/login", {"token": "wrong"}, {})).code == 401


async def test_a_form_needs_its_token(serve, queue):
    async with serve() as browser:
        await browser.ready()
        cookie = await browser.log_in()
        page = await browser.get("/queues/default", cookie)
        csrf = page.text.partition('name="csrf" value="')[2].partition('"')[0]
        assert len(csrf) == 64
        for fields in ({}, {"csrf": "x"}, {"csrf": csrf[:-1]}):
            assert (await browser.post("/queues/default/pause", fields, cookie)).code == 403
        stranger = {**cookie, "Origin": "http://elsewhere.example"}
        assert (await browser.post("/queues/default/pause", {"csrf": csrf}, stranger)).code == 403
        assert not (await queue.stats()).paused

        fields = {"csrf": csrf, "back": "/queues/default"}
        done = await browser.post("/queues/default/pause", fields, cookie)
        assert (done.code, done.headers["Location"]) == (303, "/queues/default")
        assert (await queue.stats()).paused
        fields = {"csrf": csrf, "back": "https://elsewhere.example/"}
        done = await browser.post("/queues/default/resume", fields, cookie)
        assert done.headers["Location"] == "/"


async def test_what_a_program_may_do(serve, queue):
    job = await queue.enqueue_in(3600, add, 1, 2)
    await queue.schedule(add, 1, 2, cron="0 0 1 1 *", schedule_id="new-year")
    async with serve() as browser:
        await browser.ready()
        for path, says in (
            (f"/api/jobs/{job.id}/cancel", "is cancelled"),
            ("/api/schedules/new-year/pause", "is paused"),
            ("/api/schedules/new-year/resume", "is active"),
            ("/api/schedules/new-year/run-now", "runs now as new-year-"),
            ("/api/queues/default/purge", "1 job of queue default"),
        ):
            answer = await browser.post(path)
            assert answer.code == 200, answer.text
            assert says in answer.json()["done"]
        assert (await browser.post("/api/schedules/nix/pause")).code == 404
        assert (await browser.post("/api/queues/default/explode")).code == 404
        assert (await browser.post("/api/schedules/new-year/pause", {"x": "y"})).code == 415
        refused = await browser.post("/api/overview")
        assert (refused.code, refused.headers["Allow"]) == (405, "GET, HEAD")


async def test_what_is_refused_before_its_body_came_keeps_the_connection(serve):
    head = "QUERY /api/overview HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    async with serve() as browser:
        for who in ("", f"Authorization: Bearer {TOKEN}\r\n"):
            async with await trio.open_tcp_stream("127.0.0.1", browser.port) as link:
                for _ in range(3):
                    await link.send_all(f"{head}{who}\r\n".encode())
                    await trio.testing.wait_all_tasks_blocked(0.01)
                    await link.send_all(b"{}")
                    seen = b""
                    with trio.fail_after(20):
                        while not seen.endswith(b"}"):
                            seen += await link.receive_some()
                    assert seen.startswith(b"HTTP/1.1 405 " if who else b"HTTP/1.1 401 ")


async def test_a_body_that_is_too_long(serve):
    async with serve() as browser:
        answer = await browser.post_json("/api/queues/default/pause", "x" * MAX_BODY)
        assert (answer.code, list(answer.json())) == (413, ["error"])
        assert answer.headers["Connection"] == "close"


async def test_states_are_described_as_they_are():
    assert msgspec.json.schema(JobsQuery)["$defs"]["JobsQuery"]["properties"]["state"][
        "enum"
    ] == sorted(STATES)


@pytest.mark.parametrize(
    "changes",
    [
        {"interval": 1e300},
        {"interval": 1e12},
        {"repeat": 10**30},
        {"next_run": "9999-12-31T23:59:59-23:59"},
        {"next_run": "0001-01-01T00:00:00+23:59"},
        {"cron": "\x00"},
        {"timezone": "../../etc/passwd"},
        {"interval": 60, "cron": "* * * * *"},
        {},
    ],
)
async def test_what_no_schedule_can_be_changed_to(serve, queue, changes):
    await queue.schedule(add, 1, 2, interval=60, schedule_id="often")
    async with serve() as browser:
        await browser.ready()
        answer = await browser.post_json("/api/schedules/often/reschedule", changes)
        assert (answer.code, list(answer.json())) == (400, ["error"])


async def test_read_only(serve, queue):
    async with serve(readonly=True) as browser:
        await browser.ready()
        assert (await browser.post("/api/queues/default/pause")).code == 403
        assert 'action="/queues/default/pause"' not in (await browser.get("/queues/default")).text


async def test_a_change_reaches_an_open_page(serve, queue):
    async with serve() as browser:
        await browser.ready()
        link = await trio.open_tcp_stream("127.0.0.1", browser.port)
        async with link:
            await link.send_all(
                b"GET /events?page=/ HTTP/1.1\r\nHost: x\r\n"
                + f"Authorization: Bearer {TOKEN}\r\n\r\n".encode()
            )
            seen = b""
            with trio.fail_after(20):
                while b"event: update" not in seen:
                    seen += await link.receive_some()
                await queue.enqueue(add, 1, 2)
                while b"Waiting</span><b>1</b>" not in seen:
                    seen += await link.receive_some()
        assert b"event: problem" in seen


async def test_without_a_server_it_is_there_and_says_so(serve):
    nowhere = Settings(nats_url="nats://127.0.0.1:1")
    async with serve(settings=nowhere) as browser:
        assert (await browser.get("/readyz", {})).code == 503
        for path in PAGES:
            assert (await browser.get(path)).code in (200, 400)
        assert (await browser.get("/api/overview")).code == 503


def sample(answer, name, **labels):
    """Return a number of an exposition."""
    for family in text_string_to_metric_families(answer.text):
        for found in family.samples:
            if found.name == name and labels.items() <= found.labels.items():
                return found.value
    return None


async def test_numbers_for_collectors(serve, queue, monkeypatch):
    asked = []
    collect = QueueMetrics.collect

    async def counted(self):
        asked.append(1)
        return await collect(self)

    monkeypatch.setattr(QueueMetrics, "collect", counted)
    await queue.enqueue(add, 1, 2)
    async with serve() as browser:
        await browser.ready()
        assert (await browser.get("/metrics", {})).code == 401
        assert asked == []
        answers = []

        async def scrape():
            answers.append(await browser.get("/metrics"))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(scrape)
    assert {answer.code for answer in answers} == {200}
    assert {answer.headers["Content-Type"] for answer in answers} == {CONTENT_TYPE}
    assert len(asked) == len({answer.text for answer in answers}) < 10
    assert sample(answers[0], "naq_up") == 1
    assert sample(answers[0], "naq_queue_depth", queue="default") == 1
    assert sample(answers[0], "process_start_time_seconds") > 0
    assert sample(answers[0], "naq_replica_ready") is None


async def test_numbers_without_a_server(serve):
    async with serve(settings=Settings(nats_url="nats://127.0.0.1:1")) as browser:
        answer = await browser.get("/metrics")
        assert answer.code == 200
        assert sample(answer, "naq_up") == 0
        assert sample(answer, "naq_build_info", version=naq.__version__) == 1
        assert sample(answer, "naq_queue_depth") is None


async def test_alive_and_ready_are_two_things(serve):
    async with serve(settings=Settings(nats_url="nats://127.0.0.1:1")) as browser:
        alive = await browser.get("/healthz", {})
        assert (alive.code, alive.json()) == (200, {"status": "ok"})
        ready = await browser.get("/readyz", {})
        assert ready.code == 503
        assert "127.0.0.1:1" in ready.json()["status"] or "connecting" in ready.json()["status"]
    async with serve() as browser:
        await browser.ready()
        assert (await browser.get("/readyz", {})).json() == {"status": "ok"}


async def test_it_is_not_open_to_everybody():
    with pytest.raises(ConfigurationError, match="can be reached from other machines"):
        Dashboard(host="0.0.0.0")


async def test_a_reader_that_does_not_read_is_let_go(tmp_path, settings, monkeypatch):
    monkeypatch.setattr("naq.dashboard.serve.STALLED", 1.0)
    dashboard = Dashboard(port=0, token=TOKEN, settings=settings, directory=tmp_path)
    number = 0

    async def render(path):
        nonlocal number
        number += 1
        return {"live_part": f"{number}" + "x" * (1 << 20)}

    dashboard._hub = hub = Hub(render, dashboard._state.changes)
    async with trio.open_nursery() as nursery:
        await nursery.start(dashboard.run)
        with socket.create_connection(("127.0.0.1", dashboard.port)) as link:
            head = f"GET /events?page=/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}"
            link.sendall(f"{head}\r\n\r\n".encode())
            with trio.fail_after(20):
                while not hub.clients:  # noqa: ASYNC110
                    await trio.sleep(0.01)
                while hub.clients:
                    dashboard._state.changes.ring()
                    await trio.sleep(0.05)
        rendered = number
        dashboard._state.changes.ring()
        await trio.testing.wait_all_tasks_blocked()
        assert number == rendered  # nothing is rendered for it any more
        dashboard.stop()


async def test_only_so_many_pages_are_served(serve, monkeypatch):
    monkeypatch.setattr("naq.dashboard.pages.live.MAX_CLIENTS", 0)
    async with serve() as browser:
        answer = await browser.get("/events?page=/")

    assert answer.code == 503
    assert answer.json() == {"error": "too many pages are open"}
