"""`naq up` on a terminal: a status bar below the output, and nothing left of it afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from supervisor_harness import PATIENCE

TOML = """
[project]
name = "shop"
[services.web]
command = ["sh", "-c", "echo hello; exec sleep 1000"]
replicas = 2
[services.bad]
command = "false"
restart = { backoff = "1h" }
ready = { log = "x" }
"""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(
        self,
        directory,
        *arguments: str,
        command: str = "up",
        columns: int = 60,
        rows: int = 24,
        **env: str,
    ):
        self.fd, inner = pty.openpty()
        self._inner = inner
        self.resize(columns, rows)
        self.before = termios.tcgetattr(inner)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "naq", command, *arguments],
            cwd=directory,
            stdin=inner,
            stdout=inner,
            stderr=inner,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - no threads
            env={**os.environ, "TERM": "xterm-256color", "NO_COLOR": "", **env},
        )
        self.text = ""

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, timeout: float) -> bool:
        """Read what is there; whether there may be more."""
        if not select.select([self.fd], [], [], timeout)[0]:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def wait(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < end, f"{pattern!r} did not come:\n{self.text}"
            self.read(0.1)
        return found

    def end(self) -> int:
        """Read to the end; return the exit code."""
        end = time.monotonic() + PATIENCE
        while self.process.poll() is None:
            assert time.monotonic() < end, self.text
            self.read(0.05)
        while select.select([self.fd], [], [], 0)[0] and self.read(0):
            pass
        return self.process.returncode

    @property
    def echoes(self) -> bool:
        return bool(termios.tcgetattr(self._inner)[3] & termios.ECHO)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for fd in (self.fd, self._inner):
            if fd >= 0:
                os.close(fd)

    def hang_up(self) -> None:
        os.close(self._inner)
        os.close(self.fd)
        self.fd = self._inner = -1


@pytest.fixture
def terminal(tmp_path):
    opened = []

    def start(*arguments, **options):
        (tmp_path / "supervisor.toml").write_text(TOML)
        opened.append(Terminal(tmp_path, *arguments, **options))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_the_bar_stays_below_the_output_and_goes_at_the_end(terminal):
    shown = terminal()
    shown.wait(r"web.1 \|\x1b\[0m hello")
    shown.wait(r"shop 2/3 .*web 2/2.*bad")
    shown.wait(r"bad.*BACKOFF.*exit code 1")
    assert not shown.echoes
    shown.process.send_signal(signal.SIGINT)
    assert shown.end() == 0
    assert shown.echoes
    # What was painted last was erased, and nothing was painted after it.
    last = shown.text.rindex("── shop")
    assert shown.text[last:].endswith("\r\x1b[J\x1b[?2026l")


def test_no_painted_line_is_wider_than_the_terminal(terminal):
    shown = terminal(columns=30, rows=10)
    shown.wait("shop 2/3")
    shown.wait("BACKOFF")
    shown.resize(20, 10)
    shown.process.send_signal(signal.SIGWINCH)
    shown.wait("…")
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 0
    painted = [row for row in re.split(r"[\r\n]+", plain(shown.text)) if row[:3] in ("── ", "   ")]
    assert len(painted) > 3
    assert max(len(row) for row in painted) < 30


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        (["--log-format", "text"], {}),
        (["--log-format", "json"], {}),
        ([], {"TERM": "dumb"}),
        ([], {"NAQ_NO_STATUS": "1"}),
    ],
)
def test_where_there_is_no_bar(terminal, arguments, env):
    shown = terminal(*arguments, **env)
    shown.wait("hello")
    shown.wait("bad ended")
    assert "── shop" not in shown.text
    assert shown.echoes
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 0


def test_without_colour_the_bar_has_none(terminal):
    shown = terminal(NO_COLOR="1")
    shown.wait("shop 2/3")
    shown.wait("BACKOFF")
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 0
    assert not re.search(r"\x1b\[[0-9;]+m", shown.text)


def test_a_terminal_that_is_gone_is_a_request_to_stop(terminal):
    shown = terminal()
    shown.wait("shop 2/3")
    shown.hang_up()
    assert shown.process.wait(PATIENCE) == 0


def test_three_times_ctrl_c_leaves_the_terminal_as_it_was(terminal, tmp_path):
    stubborn = (
        "[services.s]\ncommand = ['sh', '-c', 'trap \"\" TERM; echo up; while :; do sleep 1; done']"
        "\nstop_timeout = '1h'\n[project]\nshutdown_timeout = '1h'\n"
    )
    (tmp_path / "other.toml").write_text(stubborn)
    shown = terminal("other.toml")
    shown.wait("up")
    shown.wait("1/1")
    os.write(shown.fd, b"\x03")
    shown.wait("stopping")
    shown.process.send_signal(signal.SIGINT)
    shown.process.send_signal(signal.SIGTERM)
    assert shown.end() == 130
    assert shown.echoes


def test_a_table_that_is_watched_ends_with_the_project(terminal):
    up = terminal()
    up.wait("web.2 running")
    watching = terminal("--watch", command="ps", columns=120)

    watching.wait(r"web\.2 +READY")
    up.process.send_signal(signal.SIGTERM)
    assert up.end() == 0
    assert watching.end() == 0
    assert "naq:" not in watching.text
