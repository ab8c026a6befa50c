"""What became of a job, made such that it can be stored whatever user code left in it.

An exception's text may be no text that can be encoded (a lone surrogate out of a file name), or not
even a plain ``str``. It is changed as little as it takes. Arguments and values are never changed:
they are bytes by then.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, TypeVar

import msgspec

__all__ = ["plain", "storable"]

S = TypeVar("S", bound=msgspec.Struct)

_INTEGERS = range(-(2**63), 2**64)


def plain(text: str) -> str:
    """Return ``text`` as a plain string, what cannot be encoded in it as an escape."""
    return str.encode(text, "utf-8", "backslashreplace").decode()


def storable(struct: S) -> S:
    """Return a copy of ``struct`` that can be encoded."""
    fields = {name: _cleaned(getattr(struct, name)) for name in struct.__struct_fields__}
    return type(struct)(**fields)


def _cleaned(value: Any) -> Any:
    if value is None or isinstance(value, (bool, float, bytes, Enum)):
        return value
    if isinstance(value, int):
        return int(value) if value in _INTEGERS else float("inf" if value > 0 else "-inf")
    if isinstance(value, msgspec.Struct):
        return storable(value)
    if isinstance(value, dict):
        return {_cleaned(key): _cleaned(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_cleaned(item) for item in value)
    return plain(value if isinstance(value, str) else _shown(value))


def _shown(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the rest
        return f"<{type(value).__qualname__} that cannot be shown>"
