"""Short ways to write a key down; what the tables of keys are made with."""

from __future__ import annotations

from naq.supervisor._schema import Apply, Key, Scalar, Type
from naq.supervisor._values import number

__all__ = ["key", "live", "ratio"]


def key(type_: Type, default: object, doc: str, apply: Apply = Apply.RESTART) -> Key:
    """Return a key whose change restarts the service, unless ``apply`` says something else."""
    return Key(type=type_, default=default, doc=doc, apply=apply)


def live(type_: Type, default: object, doc: str) -> Key:
    """Return a key whose change is taken over by what runs."""
    return Key(type=type_, default=default, doc=doc, apply=Apply.LIVE)


def ratio(low: float, high: float) -> Scalar:
    """Return the type of a number between two others."""
    return Scalar(number(low, high), {"type": "number", "minimum": low, "maximum": high})
