"""One log file and its predecessors: written, rotated when it is large, compressed, removed.

For one thread only. Nothing here waits for anything but the disk.
"""

from __future__ import annotations

import gzip
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from naq.supervisor.model.spec import Rotation

__all__ = ["RotatingFile"]

_CHUNK = 1024 * 1024  # compressed between two writes, bytes


class RotatingFile:
    """A log file. Old ones are ``NAME.1`` (the newest), ``NAME.2`` or ``NAME.2.gz``, and so on."""

    def __init__(self, path: Path, rotation: Rotation, mode: int = 0o640) -> None:
        self.path = path
        self._mode = mode
        self.rotation = rotation
        self._fd: int | None = None
        self._size = 0
        self._broken_line = False
        self._regular = False
        self._compressing: Iterator[None] | None = None

    def write(self, data: bytes) -> None:
        """Append whole lines.

        Raises:
            OSError: some or all of ``data`` is not in the file.
        """
        if self._fd is None:
            self._open()
        if self._regular and self._size and self._size + len(data) > self.rotation.max_size:
            self._rotate()
        assert self._fd is not None, "opened above"
        if self._broken_line:
            data = b"\n" + data
        view = memoryview(data)
        while view:
            try:
                written = os.write(self._fd, view)
            except OSError:
                self._broken_line = self._broken_line or len(view) != len(data)
                raise
            view = view[written:]
            self._size += written
        self._broken_line = False

    def reopen(self) -> None:
        """Open the file again at the next write: another program has rotated it."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def close(self) -> None:
        """Finish what was begun, and close."""
        while self.work():
            pass
        self.reopen()

    def work(self) -> bool:
        """Compress a little of what is to be compressed; return whether there is more."""
        if self._compressing is None:
            return False
        try:
            next(self._compressing)
        except StopIteration:
            self._compressing = None
        except OSError:
            self._compressing = None  # the uncompressed one is still there
        return self._compressing is not None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK
        self._fd = os.open(self.path, flags, self._mode)
        found = os.fstat(self._fd)
        self._size = found.st_size
        self._regular = self.path.is_file()

    def _rotate(self) -> None:
        while self.work():  # numbers must not change under it
            pass
        self.reopen()
        keep = self.rotation.keep
        for number in range(keep, 0, -1):
            for suffix in ("", ".gz"):
                old = self._numbered(number, suffix)
                if number == keep:
                    old.unlink(missing_ok=True)
                elif old.exists():
                    old.replace(self._numbered(number + 1, suffix))
        if keep:
            self.path.replace(self._numbered(1))
            if self.rotation.compress:
                self._compressing = self._compress(self._numbered(1))
        else:
            self.path.unlink()
        self._remove_old()
        self._open()

    def _numbered(self, number: int, suffix: str = "") -> Path:
        return self.path.with_name(f"{self.path.name}.{number}{suffix}")

    def _remove_old(self) -> None:
        if self.rotation.max_age is None:
            return
        oldest = time.time() - self.rotation.max_age
        for number in range(1, self.rotation.keep + 1):
            for suffix in ("", ".gz"):
                old = self._numbered(number, suffix)
                with suppress(FileNotFoundError):
                    if old.stat().st_mtime < oldest:
                        old.unlink()

    def _compress(self, path: Path) -> Iterator[None]:
        """Compress ``path`` a piece at a time. A reader never finds half a file."""
        target, part = path.with_name(f"{path.name}.gz"), path.with_name(f"{path.name}.gz.part")
        try:
            with path.open("rb") as source, gzip.open(part, "wb", compresslevel=6) as packed:
                while chunk := source.read(_CHUNK):
                    packed.write(chunk)
                    yield
            found = path.stat()
            os.utime(part, ns=(found.st_atime_ns, found.st_mtime_ns))
            part.replace(target)
            path.unlink()
        finally:
            part.unlink(missing_ok=True)
