"""Who is at the other end of a Unix socket, as the kernel knows it (unix(7))."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Credentials", "credentials_room", "peer_of", "sender_of"]

_UCRED = struct.Struct("iII")  # struct ucred: pid, uid, gid


class Credentials(NamedTuple):
    """A process, its user and its group."""

    pid: int
    uid: int
    gid: int


class _Socket(Protocol):
    """The part that sockets of the standard library and of Trio have in common."""

    def getsockopt(self, level: int, optname: int, buflen: int, /) -> bytes: ...


def peer_of(connection: _Socket) -> Credentials | None:
    """Return who is connected; None where the system does not tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    return _read(connection.getsockopt(socket.SOL_SOCKET, option, _UCRED.size))


def sender_of(ancillary: Iterable[tuple[int, int, bytes]]) -> Credentials | None:
    """Return who sent a datagram, from its ancillary data; None where that does not say.

    The receiver must have set ``SO_PASSCRED``.
    """
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == getattr(socket, "SCM_CREDENTIALS", None):
            return _read(data)
    return None


def credentials_room() -> int:
    """Return the bytes of ancillary data that hold one sender's credentials and nothing else."""
    return socket.CMSG_SPACE(_UCRED.size)


def _read(data: bytes) -> Credentials:
    return Credentials(*_UCRED.unpack(data[: _UCRED.size]))
