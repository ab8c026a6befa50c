"""What keys of naq's own services may hold: names of queues, functions, ports, addresses."""

from __future__ import annotations

from ipaddress import ip_address

from naq.base.names import check_queue
from naq.base.text import TARGET
from naq.exceptions import ConfigurationError
from naq.supervisor.kinds.schema import Invalid, Scalar
from naq.supervisor.kinds.values import address, whole

__all__ = ["ADDRESS", "AT_LEAST_ONE", "BIND", "FUNCTION", "LISTEN", "PORT", "QUEUE"]


def _queue(value: object) -> str:
    try:
        return check_queue(value)
    except ConfigurationError as exc:
        raise Invalid(str(exc)) from exc


def _function(value: object) -> str:
    if isinstance(value, str) and TARGET.fullmatch(value):
        return value
    raise Invalid(f'expected "package.module:function", got {value!r}')


def _address(value: object) -> str:
    try:
        return str(ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise Invalid(f'expected an IP address such as "0.0.0.0", got {value!r}') from None


def _bind(value: object) -> tuple[str, int]:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if host and port.isdecimal() and int(port) < 65536:
        return host, int(port)
    raise Invalid(f'expected "host:port", such as "127.0.0.1:8080", got {value!r}')


def _listen(value: object) -> str:
    """Check where to listen; the port may be the replica's own."""
    if isinstance(value, str):
        address(value.replace("{port}", "1"))
        return value
    return address(value)


PORT = Scalar(whole(0, 65535), {"type": "integer", "minimum": 0, "maximum": 65535})
AT_LEAST_ONE = Scalar(whole(1, 100_000), {"type": "integer", "minimum": 1})
QUEUE = Scalar(_queue, {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"})
FUNCTION = Scalar(_function, {"type": "string", "pattern": f"^{TARGET.pattern}$"})
ADDRESS = Scalar(_address, {"type": "string"})
BIND = Scalar(_bind, {"type": "string"})
LISTEN = Scalar(_listen, {"type": "string"})
