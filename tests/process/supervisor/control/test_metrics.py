"""Numbers for collectors, over HTTP."""

from __future__ import annotations

import re

import trio
from supervisor_harness import trio_test

from naq.base.local import free_port
from naq.dashboard.data.services import Services

SLEEP = {"command": ["sleep", "1000"]}


async def ask(port: int, request: str = "GET /metrics HTTP/1.1") -> tuple[str, str]:
    """Return status line and body."""
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request.encode() + b"\r\nHost: x\r\n\r\n")
        async for chunk in stream:
            answer += chunk
    head, _, body = answer.decode().partition("\r\n\r\n")
    return head.partition("\r\n")[0], body


def names_of(text: str) -> list[str]:
    return [line.rpartition(" ")[0] for line in text.splitlines()]


@trio_test
async def test_what_is_the_case_as_numbers(run_project, tmp_path):
    port = free_port()
    services = {"a": {**SLEEP, "replicas": 2}, "gone": {"command": "false", "restart": "never"}}
    control = {"metrics": f"127.0.0.1:{port}"}
    async with run_project(services, control=control, project={"name": "shop"}) as running:
        await running.until("gone", "FAILED")
        await running.until("a.2", "READY")
        status, body = await ask(port)
        assert status == "HTTP/1.1 200 OK"
        line = re.compile(r'[a-z_]+\{project="shop"(,[a-z]+="[A-Za-z0-9]+")*\} [0-9.e+-]+')
        values = [text for text in body.splitlines() if not text.startswith("# ")]
        assert [text for text in values if not line.fullmatch(text)] == []
        labels = 'project="shop",replica="2",service="a"'
        assert f'naq_replica_state{{{labels},state="READY"}} 1.0' in values
        assert f"naq_replica_ready{{{labels}}} 1.0" in values
        assert f"naq_replica_restarts_total{{{labels}}} 0.0" in values
        assert 'naq_replica_ready{project="shop",replica="1",service="gone"} 0.0' in values
        assert 'naq_replica_resident_bytes{project="shop",replica="1",service="gone"' not in body
        assert "naq_supervisor_resident_bytes" in body

        asked = await Services(tmp_path).ask("metrics")
        assert names_of(asked) == names_of(body)

        assert (await ask(port, "GET / HTTP/1.1"))[0] == "HTTP/1.1 404 Not Found"
        assert (await ask(port, "POST /metrics HTTP/1.1"))[0] == "HTTP/1.1 405 Method Not Allowed"
        assert (await ask(port, "HEAD /metrics HTTP/1.1")) == ("HTTP/1.1 200 OK", "")
        assert (await ask(port, "\x00" * 900))[0] == "HTTP/1.1 400 Bad Request"
        assert (await ask(port))[0] == "HTTP/1.1 200 OK"


@trio_test
async def test_a_taken_port_costs_the_metrics_and_nothing_else(run_project):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with run_project({"s": SLEEP}, control={"metrics": f"127.0.0.1:{port}"}) as running:
        await running.lines.wait(rf"metrics: cannot listen on 127\.0\.0\.1:{port}: .*in use")
        await running.until("s", "READY")
    await listener.aclose()
