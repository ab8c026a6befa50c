"""What goes over the control socket, written and read for both of its ends. No I/O.

Each line is a JSON object. A client sends ``{"id": 1, "v": 1, "cmd": "ps", "args": {}}``; the
server answers with ``{"id": 1, "ok": true, "result": ...}`` or ``{"id": 1, "ok": false, "error":
{"code": ..., "message": ...}}``, after any number of ``{"id": 1, "event": ...}``.

The server reads with :func:`read_request` and writes with :func:`answer`, :func:`event` and
:func:`refusal`. A client has a :class:`Conversation`, whatever it does its I/O with: bytes go in,
events and a result come out.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from naq.supervisor.model.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_REPLY",
    "MAX_REQUEST",
    "VERSION",
    "Conversation",
    "GarbledError",
    "Request",
    "answer",
    "event",
    "read_request",
    "refusal",
]

VERSION = 1
MAX_REQUEST = 64 * 1024
"""Bytes of a request, with its newline."""
MAX_REPLY = 16 * 1024 * 1024
"""Bytes of one line that a client accepts. ``ps`` of 30,000 replicas is shorter."""


# ------------------------------------------------------------------ the server's side


@dataclass(frozen=True, slots=True)
class Request:
    """A well-formed request; its command need not exist."""

    id: object
    command: str
    args: dict[str, Any]


def read_request(line: bytes) -> Request:
    """Return the request in one line.

    Raises:
        Refused: the line is not a request.
    """
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise Refused("bad-request", "not JSON in UTF-8") from exc
    if not isinstance(frame, dict):
        raise Refused("bad-request", "not a JSON object")
    id_ = frame.get("id")
    if not isinstance(id_, (str, int, type(None))):
        raise Refused("bad-request", "id is neither a text nor a number")
    if frame.get("v") != VERSION:
        raise Refused(
            "version",
            f"this supervisor speaks version {VERSION} of the protocol, not {frame.get('v')!r}",
            id_=id_,
        )
    command, args = frame.get("cmd"), frame.get("args", {})
    if not isinstance(command, str):
        raise Refused("bad-request", "cmd is not a string", id_=id_)
    if not isinstance(args, dict):
        raise Refused("bad-request", "args is not an object", id_=id_)
    return Request(id_, command, args)


def answer(id_: object, result: object) -> bytes:
    """Return the line that answers a request with its result."""
    return _line({"id": id_, "ok": True, "result": result})


def event(id_: object, content: object) -> bytes:
    """Return a line that belongs to a request and comes before its answer."""
    return _line({"id": id_, "event": content})


def refusal(refused: Refused) -> bytes:
    """Return the line that answers a request with an error."""
    error = {"code": refused.code, "message": str(refused)}
    return _line({"id": refused.id, "ok": False, "error": error})


def _line(frame: object) -> bytes:
    return json.dumps(frame, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


# ------------------------------------------------------------------ the client's side


class GarbledError(Exception):
    """What came from the server is not this protocol; the connection is of no more use."""


class Conversation:
    """Requests on one connection, one after the other, as a client sees them.

    :meth:`ask` gives the bytes to send; :meth:`receive` takes bytes as they arrive and returns the
    events in them, until :attr:`answered`; then :meth:`result` has the answer.

    Attributes:
        answered: whether the last request has been answered.
    """

    def __init__(self, *, limit: int = MAX_REPLY) -> None:
        """Begin.

        Args:
            limit: bytes a line may have.
        """
        self.answered = True
        self._limit = limit
        self._id = 0
        self._rest = bytearray()
        self._answer: dict[str, Any] = {}

    def ask(self, command: str, args: Mapping[str, Any]) -> bytes:
        """Return the line that asks for a command."""
        self._id += 1
        self.answered = False
        frame = {"id": self._id, "v": VERSION, "cmd": command, "args": dict(args)}
        return json.dumps(frame).encode() + b"\n"

    def receive(self, data: bytes) -> list[Any]:
        """Take bytes from the server; return the events that they complete.

        Raises:
            GarbledError: they are not this protocol, or a line is longer than the limit.
        """
        unread = len(self._rest)
        self._rest += data
        events: list[Any] = []
        start = 0
        while (end := self._rest.find(b"\n", max(start, unread))) >= 0:
            self._check_length(end - start)
            frame = _read_reply(bytes(self._rest[start:end]))
            if self.answered:
                raise GarbledError("a reply to no request")
            if "event" in frame:
                events.append(frame["event"])
            else:
                self._answer, self.answered = frame, True
            start = end + 1
        del self._rest[:start]
        self._check_length(len(self._rest))
        return events

    def result(self) -> Any:
        """Return the result of the request that was answered.

        Raises:
            Refused: the answer is an error.
        """
        assert self.answered, "there is no answer yet"
        if self._answer["ok"]:
            return self._answer["result"]
        error = self._answer["error"]
        raise Refused(str(error["code"]), str(error["message"]), id_=self._answer["id"])

    def _check_length(self, length: int) -> None:
        if length > self._limit:
            raise GarbledError(f"a line is longer than {self._limit} bytes")


def _read_reply(line: bytes) -> dict[str, Any]:
    """Return a line as an event or an answer.

    Raises:
        GarbledError: it is neither.
    """
    try:
        frame = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise GarbledError("not JSON in UTF-8") from exc
    if not isinstance(frame, dict) or "id" not in frame:
        raise GarbledError("not an object with an id")
    ok, error = frame.get("ok"), frame.get("error")
    succeeded = ok is True and "result" in frame
    refused = ok is False and isinstance(error, dict) and {"code", "message"} <= {*error}
    if not ("event" in frame or succeeded or refused):
        raise GarbledError("neither an event nor an answer")
    return frame
