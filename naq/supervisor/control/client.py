"""A client of the control socket without an event loop, so that the command line is quick."""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from naq.base.exits import Exit
from naq.base.imports import here
from naq.base.unix import peer_of
from naq.exceptions import EnvironmentProblemError, SupervisorError
from naq.supervisor.control.protocol import Conversation, GarbledError
from naq.supervisor.model.errors import Refused
from naq.supervisor.model.rundir import RunDir

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Client", "connect"]

_CHUNK = 64 * 1024
_DEFAULT = -1.0  # the patience that the connection was made with


@contextmanager
def connect(start: Path | None = None, *, timeout: float = 10.0) -> Iterator[Client]:
    """Connect to the supervisor of the project that ``start`` is in.

    Args:
        start: a directory; the current one if it is None. Its parents are searched as well.
        timeout: seconds an answer may take.

    Raises:
        SupervisorError: none is running there, exit code 3.
    """
    directory = start or here()
    if directory is None:
        raise _not_running("the current directory has been deleted; change to the project's")
    run_dir = RunDir.find(directory)
    if run_dir is None:
        raise _not_running("`naq up` has never run in this directory or a parent of it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(timeout)
        try:
            link.connect(os.fspath(run_dir.socket))
        except (FileNotFoundError, ConnectionRefusedError):
            raise _not_running(f"no `naq up` is running in {run_dir.path.parent.parent}") from None
        except OSError as exc:
            raise SupervisorError(f"{run_dir.socket}: {exc.strerror or exc}") from exc
        yield Client(link, timeout)


def _not_running(text: str) -> SupervisorError:
    return SupervisorError(f"not running: {text}", exit_code=Exit.NOT_RUNNING)


class Client:
    """A connection to a supervisor.

    Attributes:
        result: of the last command.
    """

    def __init__(self, link: socket.socket, timeout: float) -> None:
        self.result: Any = None
        self._timeout = timeout
        self._link = link
        self._conversation = Conversation()

    @property
    def answered(self) -> bool:
        """Whether the last command has been answered."""
        return self._conversation.answered

    def request(self, command: str, *, patience: float | None = _DEFAULT, **args: Any) -> Any:
        """Send a command and return its result; events that come before it are ignored.

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
        """Send a command and yield its events; afterwards :attr:`result` is its result.

        Raises:
            EnvironmentProblemError: the supervisor file has problems.
            SupervisorError: it was refused, or the supervisor went away.
        """
        self._link.settimeout(self._timeout if patience == _DEFAULT else patience)
        self._write(self._conversation.ask(command, args))
        while not self.answered:
            try:
                yield from self._conversation.receive(self._read())
            except GarbledError as exc:
                raise SupervisorError(f"the supervisor's answer cannot be read: {exc}") from exc
        try:
            self.result = self._conversation.result()
        except Refused as refused:
            raise _error(refused) from refused

    def _write(self, data: bytes) -> None:
        try:
            self._link.sendall(data)
        except OSError as exc:
            raise SupervisorError(f"lost the supervisor: {exc.strerror or exc}") from exc

    def _read(self) -> bytes:
        try:
            data = self._link.recv(_CHUNK)
        except TimeoutError:
            raise SupervisorError("the supervisor does not answer") from None
        except OSError as exc:
            raise SupervisorError(f"lost the supervisor: {exc.strerror or exc}") from exc
        if not data:
            raise SupervisorError("the supervisor has gone without answering")
        return data

    def wait_gone(self, timeout: float) -> bool:
        """Wait until the supervisor's process has ended; return whether it has.

        Args:
            timeout: seconds.
        """
        end = time.monotonic() + timeout
        with suppress(OSError, AttributeError):
            pidfd = os.pidfd_open(self._supervisor_pid())
            try:
                poll = select.poll()
                poll.register(pidfd, select.POLLIN)
                return bool(poll.poll(timeout * 1000))
            finally:
                os.close(pidfd)
        # Without pidfds, the end of the connection is the best sign there is.
        with suppress(OSError):
            self._link.settimeout(max(0.0, end - time.monotonic()) or 0.001)
            while self._link.recv(_CHUNK):
                pass
            return True
        return False

    def _supervisor_pid(self) -> int:
        peer = peer_of(self._link)
        if peer is None:
            raise OSError("the system does not name the peer")
        return peer.pid


def _error(refused: Refused) -> SupervisorError | EnvironmentProblemError:
    """Return a refusal as the error that a command line ends with."""
    if refused.code == "bad-config":
        return EnvironmentProblemError(*str(refused).splitlines())
    unknown = refused.code == "unknown-service"
    return SupervisorError(str(refused), exit_code=Exit.NOT_FOUND if unknown else Exit.FAILED)
