"""HTTP responses: pages, JSON, streams, redirects, and the message after an action."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote, urlsplit

import msgspec
from quart import Response, redirect, request

from naq.exceptions import (
    ConfigurationError,
    JobNotFoundError,
    NaqConnectionError,
    NaqException,
    QueueNotFoundError,
)

__all__ = ["as_json", "as_page", "as_stream", "back_to", "code_of", "done", "said"]

SAID = "naq_said"
"""The cookie that carries the outcome of an action to the next page."""
MAX_SAID = 300


def code_of(exc: NaqException) -> int:
    """Return the HTTP status for a problem."""
    match exc:
        case JobNotFoundError() | QueueNotFoundError():
            return 404
        case ConfigurationError():
            return 400
        case NaqConnectionError():
            return 503
        case _:
            return 409


def as_json(value: Any, code: int = 200) -> Response:
    """Return a value as JSON; what JSON cannot express becomes its ``repr``."""
    body = msgspec.json.encode(value, enc_hook=repr)
    return Response(body, code, content_type="application/json")


def as_page(html: str, code: int = 200) -> Response:
    """Return a page; the outcome of the action before it (:func:`said`) is shown only once."""
    answer = Response(html, code, content_type="text/html; charset=utf-8")
    if SAID in request.cookies:
        answer.delete_cookie(SAID)
    return answer


def said() -> str:
    """Return the outcome of the action before this page."""
    return unquote(request.cookies.get(SAID, ""))[:MAX_SAID]


def done(text: str, where: str) -> Any:
    """Go back to a page of ours, which then says what was done."""
    answer = redirect(back_to(where), 303)
    value = quote(text[:MAX_SAID])
    answer.set_cookie(SAID, value, max_age=30, httponly=True, samesite="Strict")
    return answer


def as_stream(events: Any) -> Response:
    """Return a stream of events that does not end by itself."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    answer = Response(events, 200, content_type="text/event-stream", headers=headers)
    answer.timeout = None
    return answer


def back_to(target: str) -> str:
    """Return where to go after an action: always a path of ours."""
    split = urlsplit(target)
    if split.scheme or split.netloc or not target.startswith("/") or "\\" in target:
        return "/"
    return target if not target.startswith("//") else "/"
