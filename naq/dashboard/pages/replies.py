"""Answers as HTTP has them."""

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
)

__all__ = ["as_json", "as_page", "as_stream", "back_to", "code_of", "done", "said"]

SAID = "naq_said"
"""Cookie that carries what an action came to to the page that is shown next."""
MAX_SAID = 300


def code_of(exc: NaqException) -> int:
    """Return the status that says what kind of problem it is."""
    match exc:
        case JobNotFoundError():
            return 404
        case ConfigurationError():
            return 400
        case NaqConnectionError():
            return 503
        case _:
            return 409


def as_json(value: Any, code: int = 200) -> Response:
    """Return a value as JSON; what JSON has no form for, as its ``repr``."""
    body = msgspec.json.encode(value, enc_hook=repr)
    return Response(body, code, content_type="application/json")


def as_page(html: str, code: int = 200) -> Response:
    """Return a page; what it says of an action before it (:func:`said`) is said once."""
    answer = Response(html, code, content_type="text/html; charset=utf-8")
    if SAID in request.cookies:
        answer.delete_cookie(SAID)
    return answer


def said() -> str:
    """Return what the action before this page came to."""
    return unquote(request.cookies.get(SAID, ""))[:MAX_SAID]


def done(text: str, where: str) -> Any:
    """Go back to a page of ours, which then says what has been done."""
    answer = redirect(back_to(where), 303)
    value = quote(text[:MAX_SAID])
    answer.set_cookie(SAID, value, max_age=30, httponly=True, samesite="Strict")
    return answer


def as_stream(events: Any) -> Response:
    """Return events, as they come, without an end."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    answer = Response(events, 200, content_type="text/event-stream", headers=headers)
    answer.timeout = None
    return answer


def back_to(target: str) -> str:
    """Return where to go after an action: a path of ours, whatever was given."""
    split = urlsplit(target)
    if split.scheme or split.netloc or not target.startswith("/") or "\\" in target:
        return "/"
    return target if not target.startswith("//") else "/"
