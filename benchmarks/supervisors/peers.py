"""The programs that are measured: how each is installed, told what to run, started, and stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import venv
from pathlib import Path

INSTALL_TIMEOUT = 300


class Peer:
    """A process manager.

    Attributes:
        name: in the table.
        package: on PyPI.
        restarts: whether it starts again what dies.
        settles: how long a child must run before its death is no failed start, seconds.
    """

    name = ""
    package = ""
    restarts = True
    settles = 0.05

    def __init__(self, venvs: Path) -> None:
        self.bin = venvs / self.name / "bin"

    def install(self) -> str:
        """Make its virtual environment; return what went wrong, or nothing."""
        if not (self.bin / "python").exists():
            venv.create(self.bin.parent, with_pip=True, symlinks=True)
        done = subprocess.run(
            [self.bin / "python", "-m", "pip", "install", "--quiet", *self.package.split()],
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT,
            check=False,
        )
        return done.stderr.strip().splitlines()[-1] if done.returncode else ""

    def version(self) -> str:
        """Return what is installed."""
        package = self.package.split()[0]
        code = f"from importlib.metadata import version; print(version({package!r}))"
        done = subprocess.run(
            [self.bin / "python", "-c", code], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(self, directory: Path, command: list[str], number: int) -> None:
        """Write its configuration: ``number`` copies of ``command``."""
        raise NotImplementedError

    def command(self, number: int) -> list[str]:
        """Return how it is started in the foreground, in the directory of its configuration."""
        raise NotImplementedError

    def start(self, directory: Path, number: int) -> subprocess.Popen:
        """Start it with nobody reading its output."""
        return subprocess.Popen(
            self.command(number),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}"},
        )


class Naq(Peer):
    """This program, from this tree."""

    name = "naq"
    package = "naq"

    def __init__(self, venvs: Path) -> None:
        super().__init__(venvs)
        self.bin = Path(sys.executable).parent

    def install(self) -> str:
        """Do nothing: it runs from where the benchmark runs."""
        return ""

    def write(self, directory, command, number):
        (directory / "supervisor.toml").write_text(
            f"[services.s]\ncommand = {json.dumps(command)}\nreplicas = {number}\n"
            'restart = { backoff = "0s", max_restarts = 0 }\n'
        )

    def command(self, number):  # noqa: ARG002 - in the file
        return [str(self.bin / "naq"), "up", "supervisor.toml"]


class Supervisord(Peer):
    """supervisord, restarting always, otherwise as it comes."""

    name = "supervisord"
    package = "supervisor setuptools<81"
    settles = 1.5

    def write(self, directory, command, number):
        (directory / "supervisord.conf").write_text(
            "[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\nuser=root\n"
            "pidfile=supervisord.pid\n"
            f"[program:s]\ncommand={' '.join(command)}\nnumprocs={number}\nautorestart=true\n"
            "process_name=%(program_name)s_%(process_num)03d\n"
        )

    def command(self, number):  # noqa: ARG002 - in the file
        return [str(self.bin / "supervisord"), "-c", "supervisord.conf"]


class Circus(Peer):
    """circusd, looking at its processes once a second instead of every five."""

    name = "circus"
    package = "circus"

    def write(self, directory, command, number):
        sockets = "\n".join(
            f"{name} = ipc://{directory}/{name}.sock" for name in ("endpoint", "pubsub_endpoint")
        )
        (directory / "circus.ini").write_text(
            f"[circus]\ncheck_delay = 1\n{sockets}\n"
            f"[watcher:s]\ncmd = {' '.join(command)}\nnumprocesses = {number}\n"
        )

    def command(self, number):  # noqa: ARG002 - in the file
        return [str(self.bin / "circusd"), "circus.ini"]


class Honcho(Peer):
    """honcho, which ends everything when one process ends."""

    name = "honcho"
    package = "honcho"
    restarts = False

    def write(self, directory, command, number):  # noqa: ARG002 - on the command line
        (directory / "Procfile").write_text(f"s: exec {' '.join(command)}\n")

    def command(self, number):
        return [str(self.bin / "honcho"), "start", "-c", f"s={number}"]


PEERS = (Naq, Circus, Supervisord, Honcho)


def stop(process: subprocess.Popen, timeout: float = 60) -> None:
    """Ask it to end; kill its session if it does not."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
