"""Which server to talk to, and with which credentials.

The first of these that there is: the explicit url, ``NAQ_NATS_URL``, a context of the ``nats``
command line, the server of a running ``naq up`` found in ``.naq/run/`` of this directory or a
parent, ``nats://127.0.0.1:4222``.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from naq.base.imports import here
from naq.base.local import started_at
from naq.exceptions import ConfigurationError
from naq.nats.urls import parse

if TYPE_CHECKING:
    from naq.settings import Settings

__all__ = [
    "DEFAULT",
    "BrokerFile",
    "Target",
    "locate",
    "moved",
    "place",
    "read_broker_file",
]

DEFAULT_URL = "nats://127.0.0.1:4222"
DEFAULT = "the default"
"""The ``source`` of a target where nothing says where the server is."""
BROKER_FILE = "nats.json"


class BrokerFile(msgspec.Struct, frozen=True):
    """``.naq/run/nats.json``: how to reach the server of a ``naq up``, and which process it is.

    ``started`` is the process's start time (seconds since the epoch), so that
    a file left behind by a killed supervisor is not mistaken for a running server.
    """

    url: str
    token: str
    pid: int
    started: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server and how to authenticate there; ``source`` says where the url came from.

    ``domain`` is that of the JetStream that is meant, where it is not the server's own.

    ``broker_file`` is the file of a ``naq up`` it was found in: the server may come back elsewhere.
    """

    url: str
    source: str
    broker_file: Path | None = None
    token: str | None = field(default=None, repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    creds: str | None = None
    nkey_seed: str | None = None
    tls: ssl.SSLContext | None = None
    tls_first: bool = False
    domain: str | None = None

    @property
    def servers(self) -> list[str]:
        """The addresses of a comma-separated list."""
        return self.url.split(",")


def locate(nats_url: str | None, settings: Settings, *, start: Path | None = None) -> Target:
    """Find the server to use.

    Args:
        nats_url: the caller's explicit url; wins over everything.
        settings: what the environment says.
        start: directory from which ``.naq/run`` is looked for, upwards; the current one if None.

    Raises:
        ConfigurationError: a credentials file, TLS file or context cannot be used.
    """
    for name in ("nats_creds", "nats_nkey_seed_file"):
        path = getattr(settings, name)
        if path:
            _there(f"NAQ_{name.upper()}", path)
    target = Target(
        url=DEFAULT_URL,
        source=DEFAULT,
        token=settings.nats_token,
        user=settings.nats_user,
        password=settings.nats_password,
        creds=settings.nats_creds,
        nkey_seed=settings.nats_nkey_seed_file,
        tls=_tls(settings.nats_tls_ca, settings.nats_tls_cert, settings.nats_tls_key),
        tls_first=settings.nats_tls_first,
        domain=settings.jetstream_domain,
    )
    if nats_url:
        return _at(target, nats_url, "the given url")
    if settings.nats_url:
        return _at(target, settings.nats_url, "NAQ_NATS_URL")
    if settings.nats_context:
        named = _from_context(settings.nats_context)
        return replace(named, domain=settings.jetstream_domain or named.domain)
    directory = start or here()
    found = None if directory is None else _running_broker(directory)
    if found is not None:
        path, broker = found
        return _from_broker(path, broker)
    return target


def _at(target: Target, url: str, source: str) -> Target:
    """Return ``target`` for what a url says; a login in the url wins over every other."""
    addresses, login = parse(url)
    if login is None:
        return replace(target, url=addresses, source=source)
    return replace(
        target,
        url=addresses,
        source=source,
        token=login.token,
        user=login.user,
        password=login.password,
    )


def place(nats_url: str | None) -> tuple[str | None, ...]:
    """Return what decides which server is meant, and which part of it is ours.

    The current directory does where nothing else is given; there need not be one.
    """
    given = tuple(os.environ.get(f"NAQ_{name}") for name in ("NATS_URL", "NATS_CONTEXT"))
    directory = None if nats_url or any(given) else here()
    prefix = os.environ.get("NAQ_PREFIX")
    return nats_url, *given, prefix, None if directory is None else str(directory)


def moved(target: Target) -> Target | None:
    """Return where the server of a ``naq up`` is now, if that is not where ``target`` says."""
    if target.broker_file is None:
        return None
    broker = read_broker_file(target.broker_file)
    if broker is None or (broker.url, broker.token) == (target.url, target.token):
        return None
    return _from_broker(target.broker_file, broker)


def _from_broker(path: Path, broker: BrokerFile) -> Target:
    return Target(url=broker.url, token=broker.token, source=str(path), broker_file=path)


def read_broker_file(path: Path) -> BrokerFile | None:
    """Return what ``path`` says of a server that is still running, None otherwise."""
    try:
        broker = msgspec.json.decode(path.read_bytes(), type=BrokerFile)
    except (OSError, msgspec.MsgspecError):
        return None
    return broker if _is_running(broker) else None


def _is_running(broker: BrokerFile) -> bool:
    started = started_at(broker.pid)
    return started is not None and abs(started - broker.started) < 1.0


def _running_broker(start: Path) -> tuple[Path, BrokerFile] | None:
    for directory in (start, *start.parents):
        path = directory / ".naq" / "run" / BROKER_FILE
        broker = read_broker_file(path)
        if broker is not None:
            return path, broker
    return None


def _tls(
    ca: str | None,
    cert: str | None,
    key: str | None,
    *,
    names: str = "NAQ_NATS_TLS_CA, NAQ_NATS_TLS_CERT, NAQ_NATS_TLS_KEY",
) -> ssl.SSLContext | None:
    if not (ca or cert or key):
        return None
    try:
        context = ssl.create_default_context(cafile=ca)
        if cert:
            context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as exc:
        raise ConfigurationError(f"{names}: {exc}") from exc
    return context


class _Context(msgspec.Struct):
    """A context of the ``nats`` command line (NATS ADR-21); the last ones naq cannot follow."""

    url: str = DEFAULT_URL
    token: str = ""
    user: str = ""
    password: str = ""
    creds: str = ""
    nkey: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    tls_first: bool = False
    jetstream_domain: str = ""
    nsc: str = ""
    user_jwt: str = ""
    socks_proxy: str = ""


def _from_context(name: str) -> Target:
    base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nats" / "context"
    path = Path(name) if "/" in name else base / f"{name}.json"
    try:
        context = msgspec.json.decode(path.read_bytes(), type=_Context)
    except (OSError, msgspec.MsgspecError) as exc:
        raise ConfigurationError(f"NAQ_NATS_CONTEXT={name}: cannot read {path}: {exc}") from exc
    for unusable in ("nsc", "user_jwt", "socks_proxy"):
        if getattr(context, unusable):
            raise ConfigurationError(
                f"NAQ_NATS_CONTEXT={name}: {path} asks for {unusable}, which naq does not know; "
                "write a context with creds, nkey, user or token"
            )
    if context.creds or context.nkey:
        _there(f"NAQ_NATS_CONTEXT={name}", context.creds or context.nkey)
    target = Target(
        url=DEFAULT_URL,
        source=f"nats context {name}",
        token=context.token or None,
        user=context.user or None,
        password=context.password or None,
        creds=context.creds or None,
        nkey_seed=context.nkey or None,
        tls=_tls(
            *(context.ca or None, context.cert or None, context.key or None),
            names=f"the context {path}",
        ),
        tls_first=context.tls_first,
        domain=context.jetstream_domain or None,
    )
    return _at(target, context.url or DEFAULT_URL, target.source)


def _there(asked: str, path: str) -> None:
    if not Path(path).expanduser().is_file():
        raise ConfigurationError(f"{asked}: there is no file {path}")
