"""Where a running project keeps its files, and the lock that lets it have one supervisor only.

``.naq/run`` beside the supervisor file, mode 0700, holds the control socket, its lock, the state
file, and whatever a kind keeps there. No event loop: ``naq ps`` starts here.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from naq.base.exits import Exit
from naq.exceptions import SupervisorError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RunDir"]

_POINTER = "socket-path"

# sun_path is 108 bytes on Linux and 104 on macOS, with the NUL; the longest name we put there is
# a notify socket's.
_SOCKET_PATH = 103 - len("/notify-99999")


@dataclass(frozen=True, slots=True)
class RunDir:
    """The run directory of one project.

    Attributes:
        path: ``.naq/run``.
        sockets: where sockets are: the same directory, unless its path is too long for a socket.
        chosen: the control socket, where the file names one.
    """

    path: Path
    sockets: Path
    chosen: Path | None = None

    @classmethod
    def of(cls, directory: Path, socket: str | None = None) -> RunDir:
        """Return the run directory of the project in ``directory``; it need not exist."""
        found = cls._of(directory)
        return found if socket is None else replace(found, chosen=Path(socket))

    @classmethod
    def _of(cls, directory: Path) -> RunDir:
        path = directory.resolve() / ".naq" / "run"
        if len(os.fsencode(path)) <= _SOCKET_PATH:
            return cls(path, path)
        import hashlib  # noqa: PLC0415 - 5 ms, and only for long paths

        name = f"naq-{hashlib.sha256(os.fsencode(path)).hexdigest()[:16]}"
        if runtime := os.environ.get("XDG_RUNTIME_DIR"):
            return cls(path, Path(runtime) / name)
        return cls(path, Path("/tmp") / f"{name}-{os.getuid()}")  # noqa: S108 - checked in create()

    @classmethod
    def find(cls, start: Path) -> RunDir | None:
        """Return the run directory of the project that ``start`` is in, if one was ever run."""
        start = start.resolve()
        for directory in (start, *start.parents):
            if (directory / ".naq" / "run").is_dir():
                found = cls.of(directory)
                with suppress(OSError):
                    return replace(found, chosen=Path((found.path / _POINTER).read_text("utf-8")))
                return found
        return None

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.sockets / "control.sock" if self.chosen is None else self.chosen

    @property
    def state(self) -> Path:
        """The file with what the supervisor has started, for whoever cleans up after it."""
        return self.path / "state.json"

    def create(self) -> None:
        """Make the directories, for this user alone.

        Raises:
            SupervisorError: they cannot be made, or belong to somebody else.
        """
        try:
            for directory in dict.fromkeys((self.path, self.sockets)):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = directory.lstat()
                if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                    raise SupervisorError(f"{directory} is not a directory of this user")
                directory.chmod(0o700)
            ignore = self.path.parent / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
            self._point_at_socket()
        except OSError as exc:
            raise SupervisorError(f"cannot make {self.path}: {exc.strerror}") from exc

    def _point_at_socket(self) -> None:
        """Write down where the control socket is, if it is not in its usual place."""
        pointer = self.path / _POINTER
        if self.chosen is None:
            pointer.unlink(missing_ok=True)
        else:
            self.chosen.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            pointer.write_text(os.fspath(self.chosen))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the supervisor of this project.

        The kernel gives the lock back when the process ends, however it ends, so a lock that is
        held means a supervisor that lives. It is on a file beside the socket, not on the socket,
        which is removed and made anew.

        Raises:
            SupervisorError: another one is running, exit code 73.
        """
        path = self.sockets / "control.sock.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 32).decode("ascii", "replace").strip()
            os.close(fd)
            raise SupervisorError(
                f"already running here (pid {holder or 'unknown'}): `naq ps` shows it, "
                "`naq down` stops it",
                exit_code=Exit.ALREADY_RUNNING,
            ) from None
        try:
            os.ftruncate(fd, 0)
            os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
            yield
        finally:
            os.close(fd)
