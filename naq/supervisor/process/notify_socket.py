"""The supervisor's end of sd_notify: one datagram socket per run, so that the sender is known."""

from __future__ import annotations

import os
import secrets
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from naq.base.unix import credentials_room, sender_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NotifySocket", "parse_notification"]

_MAX_DATAGRAM = 8192


def parse_notification(datagram: bytes) -> dict[str, str]:
    """Return the assignments in ``datagram``; other lines are ignored."""
    lines = datagram.decode("utf-8", "replace").splitlines()
    return {
        name: value for name, found, value in (s.partition("=") for s in lines) if name and found
    }


class NotifySocket:
    """Receives notifications of one run; :meth:`close` removes the socket file."""

    def __init__(self, path: Path, uid: int | None = None) -> None:
        """Make the socket.

        Args:
            path: where; not used if ``uid`` is given.
            uid: of a program that runs as somebody else and cannot reach ``path``; it gets a name
                in Linux' abstract namespace instead, where anybody may send but only it counts.

        Raises:
            OSError: it cannot be made.
        """
        self._allowed = {0, os.geteuid()} | ({uid} if uid is not None else set())
        self.path = path if uid is None or sys.platform != "linux" else None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            if self.path is None:
                self._socket.bind("\0naq-" + secrets.token_hex(12))
            else:
                with suppress(FileNotFoundError):
                    path.unlink()  # of a supervisor that was killed; we hold its lock
                self._socket.bind(os.fspath(path))
            if hasattr(socket, "SO_PASSCRED"):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        except OSError:
            self._socket.close()
            raise

    @property
    def address(self) -> str:
        """What ``NOTIFY_SOCKET`` is to be."""
        if self.path is not None:
            return os.fspath(self.path)
        name: bytes = self._socket.getsockname()
        return "@" + name[1:].decode()

    async def receive(self) -> dict[str, str]:
        """Wait for a notification of this user's."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                # Room for the credentials and nothing else: descriptors that somebody attaches
                # (FDSTORE=1) find none, and the kernel drops them.
                datagram, ancillary, _, _ = self._socket.recvmsg(_MAX_DATAGRAM, credentials_room())
            except BlockingIOError:
                continue
            if self._is_ours(ancillary):
                return parse_notification(datagram)

    def close(self) -> None:
        """Stop receiving."""
        self._socket.close()
        if self.path is not None:
            with suppress(FileNotFoundError):
                self.path.unlink()

    def _is_ours(self, ancillary: list[tuple[int, int, bytes]]) -> bool:
        """Whether the sender may speak for the run.

        Where the system does not name senders, the file modes of the socket decide.
        """
        sender = sender_of(ancillary)
        if sender is None:
            return not hasattr(socket, "SO_PASSCRED")
        return sender.uid in self._allowed
