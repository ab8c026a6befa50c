"""What a program must ask of the machine it runs on: private files, free ports, other processes.

Secrets are kept in files that only this user may read. A port is looked at before a server is
started on it, so that the reason why it cannot be had is told in one line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import socket
from pathlib import Path

from naq.exceptions import ConfigurationError

__all__ = [
    "bracketed",
    "free_port",
    "is_free",
    "kept_token",
    "require_free",
    "started_at",
    "write_private",
]


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` by a file that was never readable by any other user."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)


def kept_token(path: Path) -> str:
    """Return the token in a file; if there is none, put one there that nobody can guess.

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


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen on ``port`` of ``host`` now."""
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
    """Return ``host`` as it is written in urls: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def require_free(port: int, host: str = "127.0.0.1") -> None:
    """Check that nats-server could listen on ``port`` of ``host``.

    Raises:
        ConfigurationError: it could not; with the reason, and who listens there if that is known.
    """
    problem = _why_not(port, host)
    if problem is not None:
        taken = problem.errno == errno.EADDRINUSE
        why = f"it is taken{_holder(port)}" if taken else problem.strerror
        raise ConfigurationError(f"nats-server cannot listen on {bracketed(host)}:{port}: {why}")


def _holder(port: int) -> str:
    """Name who listens on ``port``, as far as this user may see it."""
    import psutil  # noqa: PLC0415 - takes 25 ms, and only this needs it

    with contextlib.suppress(psutil.Error):
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr[1:] == (port,) and found.pid:
                return f" by {psutil.Process(found.pid).name()} (pid {found.pid})"
    return ", perhaps by another user's program"


def free_port() -> int:
    """Return a port of loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def started_at(pid: int) -> float | None:
    """Return when a process was started, in seconds since the epoch; None if there is none.

    With its number that identifies a process, as exactly as the machine's clock is set: the system
    counts from its boot.
    """
    try:
        # The name is in parentheses and may hold anything; the fields begin after the last one.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        booted = Path("/proc/stat").read_bytes().partition(b"\nbtime ")[2].split(None, 1)[0]
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _started_at_psutil(pid)
    return int(booted) + int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _started_at_psutil(pid: int) -> float | None:
    import psutil  # noqa: PLC0415 - takes 25 ms, and only where there is no /proc

    try:
        return psutil.Process(pid).create_time()
    except psutil.Error:
        return None
