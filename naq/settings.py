"""What the environment says: every ``NAQ_*`` variable, read once, when :class:`Settings` is built.

Nothing is read at import. Everything that is wrong is reported together.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from naq.base.names import Names, check_queue
from naq.base.text import duration, size
from naq.exceptions import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Settings"]

PREFIX = "NAQ_"
_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings that do not belong to one call. Durations are seconds."""

    nats_url: str | None = field(default=None, repr=False)
    nats_creds: str | None = None
    nats_nkey_seed_file: str | None = None
    nats_token: str | None = field(default=None, repr=False)
    nats_user: str | None = None
    nats_password: str | None = field(default=None, repr=False)
    nats_tls_ca: str | None = None
    nats_tls_cert: str | None = None
    nats_tls_key: str | None = None
    nats_tls_first: bool = False
    nats_context: str | None = None
    jetstream_domain: str | None = None
    prefix: str = "naq"
    default_queue: str = "default"
    job_serializer: str = "pickle"
    secret_key: bytes | None = field(default=None, repr=False)
    allow: tuple[str, ...] = ()
    default_result_ttl: float = 604_800.0
    worker_ttl: float = 60.0
    worker_heartbeat_interval: float = 15.0
    default_ack_wait: float = 30.0
    ack_wait_per_queue: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    replicas: int = 1
    max_bytes: int | None = None
    max_consumers: int = 10_000
    max_ack_pending: int = 100_000
    placement_tags: tuple[str, ...] = ()
    log_level: str = "info"
    log_format: str = "auto"

    @property
    def names(self) -> Names:
        """Names on the server under this prefix."""
        return Names(self.prefix)

    def ack_wait(self, queue: str) -> float:
        """Return the seconds after which the server takes a job from a worker that is silent."""
        return self.ack_wait_per_queue.get(queue, self.default_ack_wait)

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read settings from ``environ`` (the process's environment by default).

        Raises:
            ConfigurationError: with one line per variable that cannot be used.
        """
        env = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        problems: list[str] = []
        # By what is there: looking up a variable that is not costs six times as much.
        for variable in [each for each in env if each.startswith(PREFIX)]:
            name = variable.removeprefix(PREFIX).lower()
            parse, text = _PARSERS.get(name), env.get(variable, "")
            if parse is None or not text or variable != f"{PREFIX}{name.upper()}":
                continue
            try:
                values[name] = parse(text)
            except (ValueError, ConfigurationError) as exc:
                value = "=…" if name in _SECRET else f"={text!r}"
                problems.append(f"{variable}{value}: {exc}")
        default = cls()
        ttl = values.get("worker_ttl", default.worker_ttl)
        beat = values.get("worker_heartbeat_interval", default.worker_heartbeat_interval)
        if beat >= ttl:
            problems.append(
                f"NAQ_WORKER_HEARTBEAT_INTERVAL ({beat:g} s) must be shorter than "
                f"NAQ_WORKER_TTL ({ttl:g} s)"
            )
        if problems:
            raise ConfigurationError(*problems)
        return cls(**values)


def _seconds(text: str, least: float = 0.0) -> float:
    value = duration(text.strip())
    if value < least:
        raise ValueError(f"must be {least:g} s or more")
    return value


def _at_least_a_second(text: str) -> float:
    return _seconds(text, 1.0)


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        value = text.lower()
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    return parse


def _yes(text: str) -> bool:
    words = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}
    if text.lower() not in words:
        raise ValueError("must be true or false")
    return words[text.lower()]


def _key(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:  # whose text has a part of the key
        raise ValueError("is no UTF-8") from None


def _replicas(text: str) -> int:
    value = int(text)
    if value not in (1, 3, 5):
        raise ValueError("must be 1, 3 or 5")
    return value


def _whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text)
        if not least <= value < 2**31:
            raise ValueError(f"must be {least} or more")
        return value

    return parse


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _per_queue(text: str) -> Mapping[str, float]:
    try:
        table = msgspec.json.decode(text, type=dict[str, float | str])
    except msgspec.DecodeError as exc:
        raise ValueError(f'must be JSON like {{"mail": 60, "video": "1h30m"}}: {exc}') from exc
    waits: dict[str, float] = {}
    for queue, wait in table.items():
        check_queue(queue)
        try:
            waits[queue] = _at_least_a_second(str(wait))
        except ValueError as exc:
            raise ValueError(f"{queue}: {exc}") from exc
    return MappingProxyType(waits)


def _token(text: str) -> str:
    if not text.isascii() or not text.isprintable() or set(text) & set(" .*>"):
        raise ValueError("must be one word without dots")
    return text


def _prefix(text: str) -> str:
    if not (text.isascii() and text.isalnum() and text.islower()):
        raise ValueError("must be lower-case ASCII letters and digits")
    return text


_SECRET = frozenset({"secret_key", "nats_token", "nats_password", "nats_url"})
"""What is never shown, not even where it cannot be used."""

_PARSERS: dict[str, Callable[[str], Any]] = {
    "nats_url": str,
    "nats_creds": str,
    "nats_nkey_seed_file": str,
    "nats_token": str,
    "nats_user": str,
    "nats_password": str,
    "nats_tls_ca": str,
    "nats_tls_cert": str,
    "nats_tls_key": str,
    "nats_tls_first": _yes,
    "nats_context": str,
    "jetstream_domain": _token,
    "prefix": _prefix,
    "default_queue": check_queue,
    "job_serializer": _one_of("pickle", "json"),
    "secret_key": _key,
    "allow": _words,
    "default_result_ttl": _at_least_a_second,
    "worker_ttl": _at_least_a_second,
    "worker_heartbeat_interval": _seconds,
    "default_ack_wait": _at_least_a_second,
    "ack_wait_per_queue": _per_queue,
    "replicas": _replicas,
    "max_bytes": size,
    "max_consumers": _whole(10),
    "max_ack_pending": _whole(1),
    "placement_tags": _words,
    "log_level": _one_of(*_LOG_LEVELS),
    "log_format": _one_of("auto", "text", "json"),
}
