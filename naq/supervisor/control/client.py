"""The other end of the control socket, for a command line. No event loop, so that it is quick."""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from naq.exceptions import EnvironmentProblemError, SupervisorError
from naq.supervisor.control.protocol import VERSION
from naq.supervisor.model.rundir import RunDir

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EX_NOT_RUNNING", "Client", "connect"]

EX_NOT_RUNNING = 3
EX_NO_SERVICE = 66  # EX_NOINPUT of sysexits.h
_EXIT_CODES = {"unknown-service": EX_NO_SERVICE}
_DEFAULT = -1.0  # as the connection was made with
_UCRED = struct.Struct("iII")  # pid, uid, gid


@contextmanager
def connect(start: Path | None = None, *, timeout: float = 10.0) -> Iterator[Client]:
    """Connect to the supervisor of the project that ``start`` is in.

    Args:
        start: a directory; the current one if it is None. Its parents are looked at as well.
        timeout: seconds an answer may take.

    Raises:
        SupervisorError: none is running there, exit code 3.
    """
    run_dir = RunDir.find(start or Path.cwd())
    if run_dir is None:
        raise _not_running("no `naq up` was ever run in this directory or a parent of it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        try:
            link.connect(os.fspath(run_dir.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            raise _not_running(f"no `naq up` runs in {run_dir.path.parent.parent}") from None
        except OSError as exc:
            raise SupervisorError(f"{run_dir.socket}: {exc.strerror or exc}") from exc
        yield Client(link, timeout)


def _not_running(text: str) -> SupervisorError:
    return SupervisorError(f"not running: {text}", exit_code=EX_NOT_RUNNING)


class Client:
    """A connection to a supervisor.

    Attributes:
        result: of the last command.
        answered: whether the last command came to its answer.
    """

    def __init__(self, link: socket.socket, timeout: float) -> None:
        self.result: Any = None
        self.answered = False
        self._timeout = timeout
        self._link = link
        self._lines = link.makefile("rb")
        self._next_id = 1

    def request(self, command: str, *, patience: float | None = _DEFAULT, **args: Any) -> Any:
        """Send a command and return its result; events before it are left out.

        Args:
            command: its name.
            patience: seconds an answer may take; None: as long as it takes.
            args: its arguments.

        Raises:
            SupervisorError: it was refused, or the supervisor does not answer.
        """
        for _ in self.follow(command, patience=patience, **args):
            pass
        return self.result

    def follow(self, command: str, *, patience: float | None = None, **args: Any) -> Iterator[Any]:
        """Send a command and yield its events; its result is in :attr:`result` then.

        Raises:
            EnvironmentProblemError: the supervisor file has problems.
            SupervisorError: it was refused, or the supervisor went away.
        """
        frame = {"id": self._next_id, "v": VERSION, "cmd": command, "args": args}
        self._next_id += 1
        self._link.settimeout(self._timeout if patience == _DEFAULT else patience)
        self._write(json.dumps(frame).encode() + b"\n")
        self.answered = False
        while True:
            reply = json.loads(self._read())
            self.answered = "event" not in reply
            if "event" not in reply:
                break
            yield reply["event"]
        if not reply["ok"]:
            error = reply["error"]
            if error["code"] == "bad-config":
                raise EnvironmentProblemError(*str(error["message"]).splitlines())
            code = _EXIT_CODES.get(error["code"], 1)
            raise SupervisorError(str(error["message"]), exit_code=code)
        self.result = reply["result"]

    def _write(self, data: bytes) -> None:
        try:
            self._link.sendall(data)
        except OSError as exc:
            raise SupervisorError(f"lost the supervisor: {exc.strerror or exc}") from exc

    def _read(self) -> bytes:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise SupervisorError("the supervisor does not answer") from None
        except OSError as exc:
            raise SupervisorError(f"lost the supervisor: {exc.strerror or exc}") from exc
        if not line:
            raise SupervisorError("the supervisor went away without an answer")
        return line

    def wait_gone(self, timeout: float) -> bool:
        """Wait until the supervisor's process has ended; whether it has.

        Args:
            timeout: seconds.
        """
        end = time.monotonic() + timeout
        with suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(self._peer())
            try:
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                return bool(poll.poll(timeout * 1000))
            finally:
                os.close(pidfd)
        # No pidfds: the end of the connection is as near as one gets.
        with suppress(OSError):
            self._link.settimeout(max(0.0, end - time.monotonic()) or 0.001)
            while self._link.recv(4096):
                pass
            return True
        return False

    def _peer(self) -> int:
        data = self._link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return int(_UCRED.unpack(data)[0])
