"""The child's end of the lifeline, on every event loop a worker may run on."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from supervisor_harness import PATIENCE

PROGRAM = """
import sys
import anyio
from naq.supervisor.notify import lifeline_lost

async def main():
    async with anyio.create_task_group() as group:
        group.start_soon(announce)
        await lifeline_lost()
        print("lost", flush=True)
        group.cancel_scope.cancel()

async def announce():
    await anyio.sleep(0.05)
    print("waiting", flush=True)
    await anyio.sleep(float(sys.argv[1]))
    print("still waiting", flush=True)
    await anyio.sleep_forever()

backend, _, loop = sys.argv[2].partition("+")
anyio.run(main, backend=backend, backend_options={"use_uvloop": True} if loop else {})
"""


@pytest.mark.parametrize("backend", ["trio", "asyncio", "asyncio+uvloop"])
def test_the_end_of_the_supervisor_is_noticed(backend):
    reader, writer = os.pipe()
    child = start(backend, f"{reader}:{os.fstat(reader).st_ino}", reader, after=60)
    os.close(reader)
    try:
        assert child.stdout.readline() == "waiting\n"
        os.close(writer)
        assert child.communicate(timeout=PATIENCE)[0] == "lost\n"
    finally:
        child.kill()


@pytest.mark.parametrize("value", ["", "x", "99", "0", "{fd}:1"])
def test_without_one_it_waits_for_ever(value):
    # "{fd}:1": a descriptor that is open but is some other pipe, as in a grandchild.
    reader, writer = os.pipe()
    os.close(writer)
    child = start("trio", value.format(fd=reader), reader, after=0.05)
    os.close(reader)
    try:
        assert child.stdout.readline() == "waiting\n"
        assert child.stdout.readline() == "still waiting\n"
    finally:
        child.kill()
        child.communicate()


def start(backend: str, value: str, fd: int, *, after: float) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(after), backend],
        env={**os.environ, "NAQ_LIFELINE_FD": value},
        pass_fds=[fd],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
