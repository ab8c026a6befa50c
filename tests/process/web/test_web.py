"""Web applications under the servers they run on: one connection for each process."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from depth import depth
from fault_waits import until

import naq
from naq.nats.connection import connect

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[3]
REQUESTS = 20


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.fixture
def serve(settings, tmp_path):
    """``serve("uvicorn", …, "fastapi")``: a server's address, once it takes requests."""
    started = []

    def start(*command, **env):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = tmp_path / "web.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)],
                stdout=output,
                stderr=output,
                cwd=ROOT / "tests" / "support" / "jobs",
                env={
                    **os.environ,
                    "PYTHONPATH": str(ROOT),
                    "PYTHONWARNINGS": "always::ResourceWarning,always::RuntimeWarning",
                    "NAQ_NATS_URL": settings.nats_url,
                    "NAQ_PREFIX": settings.prefix,
                    **env,
                },
            )
        started.append(process)
        return process, f"http://127.0.0.1:{port}", log

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait(10)


def get(url):
    with urllib.request.urlopen(url, timeout=20) as answer:
        return answer.read().decode().strip('"')


def get_many(url):
    with ThreadPoolExecutor(10) as pool:
        return set(pool.map(get, [url] * REQUESTS))


def answers(url, process, log):
    def ask():
        assert process.poll() is None, log.read_text()
        try:
            return bool(get(url))
        except OSError:
            return False

    return ask


UVICORN = ("uvicorn", "--factory", "--port", "PORT", "--log-level", "warning")
HYPERCORN = ("hypercorn", "--bind", "127.0.0.1:PORT")
GUNICORN = (
    "gunicorn",
    "--preload",
    "--workers",
    "2",
    "--threads",
    "4",
    "--bind",
    "127.0.0.1:PORT",
    "web_applications:preloaded()",
)


@pytest.mark.parametrize(
    ("command", "env", "path", "more"),
    [
        pytest.param((*UVICORN, "web_applications:fastapi"), {}, "send", 0, id="fastapi"),
        pytest.param((*UVICORN, "web_applications:bare_fastapi"), {}, "send", 0, id="bare"),
        pytest.param((*UVICORN, "web_applications:bare_fastapi"), {}, "threaded", 0, id="threads"),
        pytest.param((*HYPERCORN, "web_applications:quart()"), {}, "send", 0, id="quart"),
        # The parent has used naq before the fork; one of its two workers may not have yet.
        pytest.param(GUNICORN, {"WEB_FRAMEWORK": "flask"}, "send", 1, id="flask"),
        pytest.param(GUNICORN, {"WEB_FRAMEWORK": "django"}, "send", 1, id="django"),
    ],
)
async def test_requests_share_a_connection(settings, serve, command, env, path, more):  # noqa: PLR0917
    process, url, log = serve(*command, **env)
    await until(answers(f"{url}/{path}", process, log))
    async with connect(settings=settings), naq.Queue("mail") as queue:
        before = (await queue.stats()).depth
        clients = await next_client(settings)
        jobs = await anyio.to_thread.run_sync(get_many, f"{url}/{path}")

        assert len(jobs) == REQUESTS
        assert await next_client(settings) - clients - 1 <= more
        assert await depth(queue, before + REQUESTS) == before + REQUESTS
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) in {0, -signal.SIGTERM}
    said = log.read_text()
    for complaint in ("ResourceWarning", "Traceback", "never awaited", "was destroyed"):
        assert complaint not in said


async def next_client(settings):
    """Return the number that the server gives to a new client."""
    async with connect(settings=settings) as connection:
        return connection._client._nc._server_info["client_id"]
