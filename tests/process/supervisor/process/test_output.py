"""Output: all of it, from everybody, and never at the cost of a child."""

from __future__ import annotations

import os
import threading

import trio
from supervisor_harness import PATIENCE, python, trio_test

from naq.supervisor.output.lines import Line
from naq.supervisor.output.writer import open_writer


@trio_test
async def test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_service(run_project):
    # A session of its own: it is not in the group, and lives on with the pipe in its hands.
    code = """
import time
r, w = os.pipe()
if os.fork() == 0: os.setsid(); os.write(w, b"x"); time.sleep(1000)
os.read(r, 1); print("done")
"""
    service = {"command": python(code), "restart": "never"}
    async with run_project({"s": service, "t": {"command": ["sleep", "1000"]}}) as running:
        await running.until("s", "COMPLETED")
        assert running.lines.count("output is still held open") == 1


@trio_test
async def test_a_child_that_closes_its_output_lives_on(run_project):
    code = "import os, time\nprint('closing')\nos.close(1); os.close(2)\ntime.sleep(1000)"
    async with run_project({"s": {"command": python(code)}}) as running:
        await running.lines.wait("closing")
        await running.until("s", "READY")
        running.supervisor.stop()
        assert await running.ended() == 0
    assert running.status("s").runs == 1


@trio_test
async def test_what_a_child_prints_while_it_is_stopped_is_not_lost(run_project):
    code = """
import signal, sys, time
def bye(*_):
    for i in range(2000): print("last words", i)
    sys.exit()
signal.signal(15, bye); print("up"); time.sleep(1000)
"""
    async with run_project({"s": {"command": python(code)}}) as running:
        await running.lines.wait(r"s \| up")
        running.supervisor.stop()
        assert await running.ended() == 0
    assert running.lines.count("last words") == 2000
    assert running.status("s").last_exit.code == 0


@trio_test
async def test_odd_output_becomes_harmless_lines(run_project):
    code = r"""
os.write(1, b"invalid \xff\xfe utf-8\n")
os.write(1, b"\x1b]0;title\x07\x1b[2Jclear \x1b[31mred\n")
os.write(1, b"10%\r50%\r100%\r\n")
os.write(1, "ä".encode() * 600 + b"\n")
os.write(2, b"no newline at the end")
"""
    service = {"command": python(code), "restart": "never"}
    async with run_project({"s": service}, logging={"max_line": "1KiB"}) as running:
        await running.ended()
    lines = [text.removeprefix("s | ") for text in running.lines.all if text.startswith("s | ")]
    assert lines == [
        "invalid \ufffd\ufffd utf-8",
        "clear red",
        "100%",
        "ä" * 512,
        "ä" * 88,
        "no newline at the end",
    ]


@trio_test
async def test_a_reader_that_stops_reading_blocks_no_child(run_project):
    """Standard output that takes nothing: the child goes on, lines are dropped and counted."""
    reader, writer = os.pipe()
    amount = 20 * 1024 * 1024
    code = f"import os\nfor _ in range({amount} // 8192): os.write(1, b'x' * 8191 + b'\\n')"
    service = {"command": python(code), "restart": "never"}
    got = []

    def read_all() -> None:
        while chunk := os.read(reader, 65536):
            got.append(chunk)

    thread = threading.Thread(target=read_all)
    try:
        async with open_writer(writer, lambda line: f"{line.name} | {line.text}") as sink:
            async with run_project({"s": service}) as running:
                running.supervisor.hub.attach(sink)
                assert await running.ended() == 0  # nobody has read a byte
            assert sink.dropped > 1000
            thread.start()
            with trio.fail_after(PATIENCE):
                while not any(b"lines dropped" in chunk for chunk in got):
                    sink.put([Line(0.0, "naq", 0, "more")])
                    await trio.sleep(0.01)
    finally:
        os.close(writer)
        thread.join(PATIENCE)
        os.close(reader)
