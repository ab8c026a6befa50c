"""What goes over the control socket, for both of its ends. Pure.

Arguments of control requests: each checked, none ignored. They come from outside.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from naq.supervisor.model.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_REQUEST",
    "VERSION",
    "Args",
    "Request",
    "answer",
    "event",
    "read_request",
    "refusal",
]

VERSION = 1
MAX_REQUEST = 64 * 1024  # bytes, with the newline


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed request; its command need not exist."""

    id: object
    command: str
    args: dict[str, Any]


def read_request(line: bytes) -> Request:
    """Return the request in one line.

    Raises:
        Refused: it is none.
    """
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise Refused("bad-request", "not JSON in UTF-8") from exc
    if not isinstance(frame, dict):
        raise Refused("bad-request", "not a JSON object")
    id_ = frame.get("id")
    if not isinstance(id_, (str, int, type(None))):
        raise Refused("bad-request", "id is neither text nor number")
    if frame.get("v") != VERSION:
        raise Refused(
            "version",
            f"this supervisor speaks version {VERSION} of the protocol, not {frame.get('v')!r}",
            id_=id_,
        )
    command, args = frame.get("cmd"), frame.get("args", {})
    if not isinstance(command, str):
        raise Refused("bad-request", "cmd is not a text", id_=id_)
    if not isinstance(args, dict):
        raise Refused("bad-request", "args is not an object", id_=id_)
    return Request(id_, command, args)


def answer(id_: object, result: object) -> bytes:
    """Return the line that answers a request with its result."""
    return _line({"id": id_, "ok": True, "result": result})


def event(id_: object, content: object) -> bytes:
    """Return a line that is not yet the answer to a request, but belongs to it."""
    return _line({"id": id_, "event": content})


def refusal(refused: Refused) -> bytes:
    """Return the line that answers a request with an error."""
    error = {"code": refused.code, "message": str(refused)}
    return _line({"id": refused.id, "ok": False, "error": error})


def _line(frame: object) -> bytes:
    return json.dumps(frame, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


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
