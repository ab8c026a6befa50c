"""Arguments of control requests: each checked, none ignored. They come from outside."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from naq.supervisor.protocol import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Args"]


class Args:
    """Takes arguments out one by one; :meth:`done` refuses what is left."""

    def __init__(self, args: Mapping[str, Any]) -> None:
        self._left = dict(args)

    def names(self, key: str = "services") -> list[str]:
        """A list of texts; empty if it is missing."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            raise Refused("bad-request", f"{key} is not a list of names")
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """True or false."""
        value = self._left.pop(key, default)
        if not isinstance(value, bool):
            raise Refused("bad-request", f"{key} is neither true nor false")
        return value

    def seconds(self, key: str) -> float | None:
        """A number that is not negative, or nothing."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value < 0:
            raise Refused("bad-request", f"{key} is no number of seconds")
        return float(value)

    def whole(self, key: str, *, least: int, most: int) -> int | None:
        """A whole number within bounds, or nothing."""
        value = self._left.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise Refused("bad-request", f"{key} is no whole number from {least} to {most}")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A text."""
        value = self._left.pop(key, default)
        if not isinstance(value, str):
            raise Refused("bad-request", f"{key} is not a text")
        return value

    def done(self) -> None:
        """Refuse arguments that would be ignored: they were meant for something."""
        if self._left:
            raise Refused("bad-request", f"unknown argument {min(self._left)!r}")
