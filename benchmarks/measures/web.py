"""What an enqueue costs in a web handler: ``python -m benchmarks.measures.web``.

FastAPI under uvicorn, asked by 50 clients at once. The handlers differ in where the connection
comes from: a bare ``async with naq.Queue()`` that the application holds and passes on, the shared
one that ``await send.enqueue()`` finds, or the one of a lifespan.
"""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio

import naq
from benchmarks.measures import scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

CLIENTS, REQUESTS, ROUNDS = 50, 40, 4
PATHS = {
    "bare": "a Queue that the application holds",
    "shared": "task.enqueue(), no lifespan",
    "lifespan": "task.enqueue(), naq.connect() in the lifespan",
}


@naq.task(queue="web")
def send(number: int) -> int:
    """Do nothing; nobody runs it."""
    return number


def application() -> Any:
    """Return the application; which handlers it has depends on ``WEB_CASE``."""
    from fastapi import FastAPI

    case, held = os.environ["WEB_CASE"], {}

    @asynccontextmanager
    async def lifespan(_: object) -> AsyncIterator[None]:
        if case == "lifespan":
            async with naq.connect():
                yield
        elif case == "bare":
            async with naq.Queue("web") as held["queue"]:
                yield
        else:
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/")
    async def handler() -> str:
        if case == "bare":
            return (await held["queue"].enqueue(send.function, 1)).id
        return (await send.enqueue(1)).id

    return app


async def main() -> None:
    """Measure all cases, in turn, so that a busy machine is busy for all of them."""
    found: dict[str, list[float]] = {case: [] for case in PATHS}
    async with scene.server() as stage:
        for _ in range(ROUNDS):
            for case, times in found.items():
                with serving(case, stage.url) as port:
                    await until_it_answers(port)
                    times.append(statistics.median(await ask_all(port)))
    best = {case: min(times) for case, times in found.items()}
    for case, seconds in best.items():
        ratio = seconds / best["bare"]
        print(f"{case:<9} p50 {seconds * 1e3:7.2f} ms  {ratio:5.2f} x  {PATHS[case]}")


@contextmanager
def serving(case: str, url: str) -> Iterator[int]:
    """Run the application; yield its port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["uvicorn", "--factory", "--log-level", "warning", "--no-access-log"]
    command += ["--port", str(port), "benchmarks.measures.web:application"]
    env = {**os.environ, "WEB_CASE": case, "NAQ_NATS_URL": url, "PYTHONPATH": str(scene.ROOT)}
    with subprocess.Popen([sys.executable, "-m", *command], env=env) as process:
        try:
            yield port
        finally:
            process.terminate()


async def until_it_answers(port: int) -> None:
    """Wait for the server, which tells nobody that it is ready."""
    with anyio.fail_after(30):
        while True:
            try:
                await ask(port, 1)
            except OSError:
                await anyio.sleep(0.05)
            else:
                return


async def ask_all(port: int) -> list[float]:
    """Return how long each request of all clients took."""
    await asyncio.gather(*[ask(port, 2) for _ in range(CLIENTS)])  # warm
    answers = await asyncio.gather(*[ask(port, REQUESTS) for _ in range(CLIENTS)])
    return [seconds for each in answers for seconds in each]


async def ask(port: int, count: int) -> list[float]:
    """Ask again and again over one connection; return how long each answer took."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    took = []
    try:
        for _ in range(count):
            began = time.perf_counter()
            writer.write(b"GET / HTTP/1.1\r\nHost: benchmark\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
            await reader.readexactly(int(length))
            if b" 200 " not in head.splitlines()[0]:
                raise RuntimeError(head.decode())
            took.append(time.perf_counter() - began)
    finally:
        writer.close()
    return took


if __name__ == "__main__":
    anyio.run(main)
