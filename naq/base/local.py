"""Ports a server could listen on, and who else does.

Files that only this user may read, and secrets that are kept in them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from typing import TYPE_CHECKING

from naq.exceptions import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["bracketed", "free_port", "is_free", "kept_token", "require_free", "write_private"]


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on ``port`` of ``host`` (by default loopback) now."""
    return _why_not(port, host) is None


def _why_not(port: int, host: str) -> OSError | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as exc:
        return exc
    return None


def bracketed(host: str) -> str:
    """Return ``host`` as it stands in urls: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def require_free(port: int, host: str = "127.0.0.1") -> None:
    """Raise where nats-server could not listen.

    Raises:
        ConfigurationError: with the reason, and who holds the port where that can be seen.
    """
    problem = _why_not(port, host)
    if problem is not None:
        taken = problem.errno == errno.EADDRINUSE
        why = f"it is taken{_holder(port)}" if taken else problem.strerror
        raise ConfigurationError(f"nats-server cannot listen on {bracketed(host)}:{port}: {why}")


def _holder(port: int) -> str:
    """Name who listens on ``port``, as far as this user may see it."""
    import psutil  # noqa: PLC0415 - 25 ms, and only where a broker file exists

    with contextlib.suppress(psutil.Error):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) and found.pid:
                return f" by {psutil.Process(found.pid).name()} (pid {found.pid})"
    return ", perhaps by another user's program"


def free_port() -> int:
    """Return a port that nobody listens on, as far as one can know before listening."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def kept_token(path: Path) -> str:
    """Return the token in a file; the first time one that nobody can guess is put there.

    Raises:
        OSError: the file can neither be read nor written.
    """
    try:
        token = path.read_text("utf-8").strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(32)
        write_private(path, token)
    return token


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` by a file that was never readable by anyone else."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
