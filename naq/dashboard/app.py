"""The dashboard as a QuartTrio application."""

from __future__ import annotations

import logging
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from quart import Response, redirect, request
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from naq.base.exposition import CONTENT_TYPE
from naq.dashboard import actions
from naq.dashboard.api.openapi import describe
from naq.dashboard.api.operations import Asked, Operation, Problem
from naq.dashboard.api.operations import find as find_operation
from naq.dashboard.api.parameters import (
    BODIES,
    Nothing,
    given,
    read_body,
    read_form,
    read_query,
)
from naq.dashboard.auth import COOKIE, SESSION, may_act
from naq.dashboard.pages.live import TooManyClientsError
from naq.dashboard.pages.pages import Shown, find
from naq.dashboard.pages.replies import as_json, as_page, as_stream, back_to, code_of, done, said
from naq.dashboard.pages.streams import LogStream, PageStream
from naq.exceptions import NaqException

if TYPE_CHECKING:
    from naq.dashboard.auth import Visitor
    from naq.dashboard.pages.live import Hub
    from naq.dashboard.pages.render import Renderer
    from naq.dashboard.state import State

__all__ = ["make_app"]

log = logging.getLogger("naq.dashboard")

STATIC = Path(__file__).parent / "static"
MAX_BODY = 1 << 20
"""The most bytes that the body of a request may have."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "interest-cohort=()",
}
OPEN = frozenset({"/healthz", "/readyz", "/login"})
"""Paths that need no token."""


def make_app(state: State, render: Renderer, hub: Hub) -> QuartTrio:
    """Return the application."""
    app = QuartTrio(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["RESPONSE_TIMEOUT"] = 60
    site = _Site(state, render, hub)
    app.before_request(site.check)
    app.before_request(site.api_first)
    app.after_request(_harden)
    app.add_url_rule("/healthz", view_func=site.healthz)
    app.add_url_rule("/readyz", view_func=site.readyz)
    app.add_url_rule("/metrics", view_func=site.metrics)
    app.add_url_rule("/login", view_func=site.login, methods=["GET", "POST"])
    app.add_url_rule("/logout", view_func=site.logout, methods=["POST"])
    app.add_url_rule("/static/<path:name>", view_func=site.static)
    app.add_url_rule("/events", view_func=site.events)
    app.add_url_rule("/services/<name>/logs", view_func=site.logs)
    app.add_url_rule("/dead/bulk", view_func=site.bulk, methods=["POST"])
    app.add_url_rule("/<kind>/<path:name>/<verb>", "act", view_func=site.act, methods=["POST"])
    app.add_url_rule("/", "root", view_func=site.page, defaults={"path": ""})
    app.add_url_rule("/<path:path>", view_func=site.page)
    app.register_error_handler(HTTPException, site.http_problem)
    app.register_error_handler(NaqException, site.problem)
    app.register_error_handler(Exception, site.fault)
    return app


class _Site:
    """Answers requests."""

    def __init__(self, state: State, render: Renderer, hub: Hub) -> None:
        self._state = state
        self._render = render
        self._hub = hub
        self._static = {
            path.relative_to(STATIC).as_posix(): path
            for path in STATIC.rglob("*")
            if path.is_file()
        }

    # ------------------------------------------------------------- visitors

    async def check(self) -> Response | None:
        """Let in whoever may enter.

        The body is read first, whatever the answer: on a connection whose body is left unread,
        hypercorn 0.18 never answers again, and the client waits.
        """
        if request.content_length != 0:
            await request.get_data(as_text=False)
        path = request.path
        if path in OPEN or path.startswith("/static/") or self._visitor() is not None:
            return None
        if path.startswith("/api/") or path in {"/events", "/metrics"}:
            answer = as_json(Problem("a token is needed: Authorization: Bearer TOKEN"), 401)
            answer.headers["WWW-Authenticate"] = 'Bearer realm="naq"'
            return answer
        return self._ask_who(request.full_path.rstrip("?") if request.method == "GET" else "")

    async def api_first(self) -> Response | None:
        """Answer requests under /api/, which has paths and methods of its own."""
        return await self.api() if request.path.startswith("/api/") else None

    def _visitor(self) -> Visitor | None:
        return self._state.auth.visitor(dict(request.headers), request.cookies)

    async def login(self) -> Any:
        """Exchange the token for a cookie."""
        auth, address = self._state.auth, request.remote_addr or "?"
        fields = await request.form if request.method == "POST" else request.args
        given, back = fields.get("token", ""), fields.get("back", "")
        if not given:
            return self._ask_who(back, wait=auth.wait(address))
        cookie = auth.login(given, address)
        if cookie is None:
            log.warning("%s: wrong token", address)
            return self._ask_who(back, failed=True, wait=auth.wait(address))
        answer = redirect(back_to(back))
        answer.set_cookie(
            COOKIE,
            cookie,
            max_age=SESSION,
            httponly=True,
            samesite="Strict" if request.method == "POST" else "Lax",
            secure=request.scheme == "https",
        )
        return answer

    def _ask_who(self, back: str, *, failed: bool = False, wait: float = 0.0) -> Response:
        """Ask for the token; ``back`` is the page to go to afterwards."""
        html = self._html("frame/login.html", {"failed": failed, "wait": wait, "path": back})
        asked_for = request.path == "/login" and not failed
        return as_page(html, 429 if wait else 200 if asked_for else 401)

    async def logout(self) -> Any:
        """Remove the cookie."""
        await self._form(acts=False)
        answer = redirect("/login", 303)
        answer.delete_cookie(COOKIE)
        return answer

    async def _form(self, *, acts: bool = True) -> Any:
        """Return the fields of a request that changes something.

        Raises:
            PermissionError: it may not.
        """
        body = await request.form
        fields: Any = body
        if request.is_json:
            fields = await request.get_json(silent=True) or {}
            if not isinstance(fields, dict):
                fields = {}
        given = body.get("csrf", "") or request.headers.get("X-CSRF-Token", "")
        self._check_act(given, acts=acts)
        return fields

    def _check_act(self, csrf: str, *, acts: bool = True) -> None:
        visitor = self._visitor()
        if visitor is None or not may_act(visitor, csrf, dict(request.headers), request.host):
            raise PermissionError("this request does not come from a page of this dashboard")
        if acts and self._state.readonly:
            raise PermissionError("this dashboard is read-only")

    # -------------------------------------------------------------- pages

    async def page(self, path: str) -> Any:
        """Show a page."""
        target = f"/{path}"
        if path == "jobs" and (wanted := request.args.get("q", "").strip()):
            return redirect(f"/jobs/{wanted}")
        query = request.query_string.decode()
        found = await find(self._state, f"{target}?{query}")
        if found is None:
            return self._error(404, "There is no such page", target)
        full = f"{target}?{query}" if query else target
        return as_page(self._render.page(found, self._visitor(), full, said()))

    async def static(self, name: str) -> Any:
        """Send a file that the pages use."""
        path = self._static.get(name)
        if path is None:
            return self._error(404, "There is no such file", name)
        kind = _KINDS.get(path.suffix, "application/octet-stream")
        cached = {"Cache-Control": "private, max-age=3600"}
        return Response(path.read_bytes(), 200, content_type=kind, headers=cached)

    async def events(self) -> Any:
        """Send the changes of a page."""
        path = request.args.get("page", "/")
        try:
            visitor = self._visitor()
            csrf = (visitor.csrf if visitor else None) or ""
            stream = PageStream(self._hub, path, (self._render.placeholder, csrf))
        except TooManyClientsError:
            return as_json(Problem("too many pages are open"), 503)
        return as_stream(stream)

    async def logs(self, name: str) -> Any:
        """Send what a service prints from now on."""
        return as_stream(LogStream(self._state.services, name))

    # ------------------------------------------------------------ actions

    async def act(self, kind: str, name: str, verb: str) -> Any:
        """Do something, then go back to the page it was asked for on."""
        fields = await self._form()
        if (kind, verb) not in actions.ACTIONS:
            return self._error(404, "There is no such action", f"{kind} {verb}")
        body = BODIES.get((kind, verb))
        values = given(read_form(body, fields)) if body else {}
        text = await actions.act(self._state, self._who(), (kind, name, verb), values)
        gone = (kind, verb) == ("queues", "delete")  # and its page with it
        return done(text, "/" if gone else fields.get("back", ""))

    async def bulk(self) -> Any:
        """Requeue or delete several dead letters."""
        fields = await self._form()
        ids = fields.getlist("ids") if hasattr(fields, "getlist") else fields.get("ids", [])
        text = await actions.bulk(self._state, self._who(), str(fields.get("action", "")), ids)
        return done(text, fields.get("back", "") or "/dead")

    def _who(self) -> str:
        visitor = self._visitor()
        return f"{visitor.name if visitor else '?'} at {request.remote_addr}"

    # ---------------------------------------------------------------- api

    async def api(self) -> Any:
        """Answer a question or do something, as JSON."""
        raw = request.scope["raw_path"].decode("ascii", "replace")
        parts = [unquote(part) for part in raw.split("/")[2:]]
        if parts == ["openapi.json"]:
            operations, id_ = {"GET": Operation("", dict, self._openapi)}, ""
        else:
            operations, id_ = find_operation(parts) or ({}, "")
        if not operations:
            return as_json(Problem(f"there is no {request.path}"), 404)
        operation = operations.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            allowed = ", ".join(sorted([*operations, *(["HEAD"] if "GET" in operations else [])]))
            answer = as_json(Problem(f"{request.method} is not allowed there: use {allowed}"), 405)
            answer.headers["Allow"] = allowed
            return answer
        body = None
        if request.method == "POST":
            self._check_act(request.headers.get("X-CSRF-Token", ""))
            body = await self._json_body(operation.body or Nothing)
        query: Any = read_query(operation.query, request.args.items(multi=True))
        return as_json(await operation.call(self._state, Asked(id_, query, body, self._who())))

    async def _openapi(self, state: State, _: Asked) -> dict[str, Any]:
        return describe(readonly=state.readonly)

    async def _json_body(self, kind: type) -> Any:
        body = bytes(await request.body)
        if body and not request.is_json:
            raise UnsupportedMediaType("the body must be application/json")
        return read_body(kind, body)

    # ------------------------------------------------------------- health

    async def healthz(self) -> Any:
        """Say that the dashboard is alive."""
        return as_json({"status": "ok"})

    async def readyz(self) -> Any:
        """Say whether the server can be reached."""
        problem = self._state.link.problem
        return as_json({"status": problem or "ok"}, 503 if problem else 200)

    async def metrics(self) -> Any:
        """Return everything in numbers."""
        return Response(await self._state.metrics.text(), 200, content_type=CONTENT_TYPE)

    # ----------------------------------------------------------- problems

    async def http_problem(self, exc: HTTPException) -> Any:
        """Show why the framework refused a request."""
        answer = self._error(exc.code or 500, exc.name, exc.description or "")
        if exc.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and request.http_version < "2":
            answer.headers["Connection"] = "close"  # the rest of the body is still to come
        return answer

    async def problem(self, exc: NaqException) -> Any:
        """Show why something cannot be done."""
        title = _TITLES.get(code_of(exc), "Not possible now")
        back = (await request.form).get("back", "") if request.method == "POST" else ""
        return self._error(code_of(exc), title, str(exc), back)

    async def fault(self, exc: Exception) -> Any:
        """Show that naq is at fault, or that the visitor may not do this."""
        if isinstance(exc, PermissionError):
            return self._error(403, "Not allowed", str(exc))
        log.error("%s %s", request.method, request.path, exc_info=exc)
        return self._error(500, "Something went wrong in naq", "The log says more.")

    def _error(self, code: int, title: str, text: str, back: str = "") -> Response:
        if request.path.startswith("/api/"):
            return as_json(Problem(text or title), code)
        context = {"code": code, "title": title, "text": text, "back": back_to(back)}
        return Response(self._html("frame/error.html", context), code, content_type=_HTML)

    def _html(self, template: str, context: dict[str, Any]) -> str:
        visitor = self._visitor()
        return self._render.page(Shown(template, "", context), visitor, request.path)


_HTML = "text/html; charset=utf-8"
_KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
}
_TITLES = {404: "Not found", 400: "Not possible", 503: "No server"}


async def _harden(answer: Response) -> Response:
    for name, value in HEADERS.items():
        answer.headers.setdefault(name, value)
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer
