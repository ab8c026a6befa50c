"""The plugin `time_limit`: whatever hangs, the run ends, and says which test it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

SUPPORT = Path(__file__).parents[2] / "support"

HANGING = {
    "asyncio": """
        @limited
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_hangs():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.Event().wait(), name="one that waits")
        """,
    "trio": """
        @limited
        @pytest.mark.parametrize("anyio_backend", ["trio"])
        async def test_hangs():
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        """,
    "a blocked loop": """
        @limited
        @pytest.mark.parametrize("anyio_backend", ["asyncio"])
        async def test_hangs():
            await asyncio.sleep(0)
            time.sleep(1000)
        """,
    "C that holds the lock": """
        @limited
        def test_hangs():
            re.match("(a*)*b", "a" * 64)
        """,
    "teardown": """
        @pytest.fixture
        def slow():
            yield
            threading.Event().wait()

        @limited
        def test_hangs(slow):
            pass
        """,
    "session fixture": """
        @pytest.fixture(scope="session")
        def slow():
            subprocess.run(["sleep", "1000"])

        @limited
        def test_hangs(slow):
            pass
        """,
}
WHERE = {
    "asyncio": r"Task 'one that waits':\n.*in wait\n",
    "trio": r"in sleep_forever\n",
    "a blocked loop": r"in test_hangs\n",
    "C that holds the lock": r"in test_hangs\n",
    "teardown": r"in slow\n",
    "session fixture": r"in slow\n",
}
HEAD = """
import asyncio, re, subprocess, threading, time
import pytest, trio

limited = pytest.mark.time_limit(0.5)

def test_before():
    print("what was printed before")
"""


@pytest.fixture
def run(tmp_path):
    """``run(code, "-n", "2")``: run a file of tests; return the exit code and what was shown."""
    (tmp_path / "pytest.toml").write_text('[pytest]\nanyio_mode = "auto"\ntime_limit = "30"\n')

    def run(code, *options, **settings):
        (tmp_path / "test_it.py").write_text(HEAD + textwrap.dedent(code))
        for name, value in settings.items():
            options += ("-o", f"{name}={value}")
        process = subprocess.run(
            [
                *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "anyio"),
                *("-p", "xdist", "-p", "time_limit", "--max-worker-restart=0", *options),
            ],
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": str(SUPPORT),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTEST_ADDOPTS": "",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=50,
            check=False,
        )
        return process.returncode, process.stdout

    return run


@pytest.mark.parametrize("what", ["trio", "asyncio", "a blocked loop", "teardown"])
def test_a_run_ends_and_names_what_hung(run, what):
    code, shown = run(HANGING[what])
    assert code == 1
    assert re.search(r"=== test_it.py::test_hangs\S* has taken more than 0.5 seconds", shown), shown
    assert re.search(WHERE[what], shown, re.DOTALL), shown


@pytest.mark.parametrize("what", ["trio", "C that holds the lock", "session fixture"])
def test_a_run_with_workers_ends_and_names_what_hung(run, what):
    code, shown = run(HANGING[what], "-n", "2")
    assert code == 1
    assert re.search(r"FAILED test_it.py::test_hangs", shown), shown
    assert re.search(WHERE[what], shown, re.DOTALL), shown
    assert "1 failed" in shown


def test_a_thread_that_keeps_the_process_from_exiting(run):
    code, shown = run("threading.Thread(target=time.sleep, args=[1000]).start()", time_limit=3)
    assert code == 1
    assert "1 passed" in shown
    assert "=== the exit after the last test has taken more than 3 seconds" in shown


def test_a_module_that_hangs_when_it_is_imported(run):
    code, shown = run("time.sleep(1000)", time_limit=3)
    assert code == 1
    assert "=== the collection of tests has taken more than 3 seconds" in shown
    assert "test_it.py" in shown


def test_what_the_test_has_printed_and_started(run):
    code, shown = run(
        """
        @limited
        def test_hangs():
            process = subprocess.Popen(["sleep", "1000"])
            print("started", process.pid)
            process.wait()
        """
    )
    assert code == 1
    pid = int(re.search(r"Captured stdout:\nstarted (\d+)", shown)[1])
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_a_test_within_its_time_is_left_alone(run):
    code, shown = run("def test_passes(): pass", "-n", "2")
    assert (code, "2 passed" in shown) == (0, True), shown
