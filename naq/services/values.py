"""Types of values in the tables of naq's own services: queues, functions, ports, addresses."""

from __future__ import annotations

from ipaddress import ip_address

from naq.base.names import check_queue
from naq.base.text import TARGET
from naq.base.text import address as read_address
from naq.exceptions import ConfigurationError
from naq.supervisor.kinds.schema import Invalid, Scalar
from naq.supervisor.kinds.values import address, address_template, whole

__all__ = ["ANY_PORT", "AT_LEAST_ONE", "BIND", "FUNCTION", "HOST", "LISTEN", "QUEUE"]


def _queue(value: object) -> str:
    try:
        return check_queue(value)
    except ConfigurationError as exc:
        raise Invalid(str(exc)) from exc


def _function(value: object) -> str:
    if isinstance(value, str) and TARGET.fullmatch(value):
        return value
    raise Invalid(f'expected "package.module:function", got {value!r}')


def _host(value: object) -> str:
    try:
        return str(ip_address(value if isinstance(value, str) else ""))
    except ValueError:
        raise Invalid(f'expected an IP address such as "0.0.0.0", got {value!r}') from None


def _bind(value: object) -> tuple[str, int]:
    return read_address(address(value))


ANY_PORT = Scalar(whole(0, 65535), {"type": "integer", "minimum": 0, "maximum": 65535})
AT_LEAST_ONE = Scalar(whole(1, 100_000), {"type": "integer", "minimum": 1})
QUEUE = Scalar(_queue, {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,64}$"})
FUNCTION = Scalar(_function, {"type": "string", "pattern": f"^{TARGET.pattern}$"})
HOST = Scalar(_host, {"type": "string"})
BIND = Scalar(_bind, {"type": "string"})
LISTEN = Scalar(address_template, {"type": "string"})
