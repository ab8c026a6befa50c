"""What goes over the control socket, for both of its ends. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = [
    "MAX_REQUEST",
    "VERSION",
    "Refused",
    "Request",
    "answer",
    "event",
    "read_request",
    "refusal",
]

VERSION = 1
MAX_REQUEST = 64 * 1024  # bytes, with the newline


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """A request that is answered with an error.

    Attributes:
        code: for programs: ``bad-request``, ``version``, ``unknown-command``, ``internal``, ...
        id: of the request, where it could be read.
    """

    def __init__(self, code: str, message: str, *, id_: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.id = id_


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
