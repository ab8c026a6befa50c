"""The OpenAPI document of the API, made from the types of its requests and answers."""

from __future__ import annotations

from typing import Any

import msgspec

from naq.base.version import __version__
from naq.dashboard.api.operations import OPERATIONS, Operation, Problem
from naq.dashboard.api.parameters import IDS, JOB_ID
from naq.dashboard.auth import COOKIE

__all__ = ["describe"]

_REFS = "#/components/schemas/{name}"
_READ = {
    "400": "something in the request is not valid",
    "401": "no token, or a wrong one",
    "404": "there is no such thing",
    "503": "the server cannot be reached",
}
_ACT = _READ | {
    "403": "this dashboard is read-only, or a browser sent no X-CSRF-Token",
    "409": "it is in no state for that, or no supervisor runs here",
    "413": "the body is too large",
    "415": "the body is not JSON",
}


def describe(*, readonly: bool) -> dict[str, Any]:
    """Return the document.

    Args:
        readonly: leave out everything that would be refused.
    """
    types = [op.answer for ops in OPERATIONS.values() for op in ops.values()]
    types += [op.body for ops in OPERATIONS.values() for op in ops.values() if op.body]
    schemas, components = msgspec.json.schema_components([*types, Problem], ref_template=_REFS)
    schema_of = {
        repr(kind): schema for kind, schema in zip([*types, Problem], schemas, strict=True)
    }
    paths: dict[str, Any] = {
        "/api/openapi.json": {
            "get": _operation("openapi.json", "get", "This document", {"type": "object"}, schema_of)
        }
    }
    for path, operations in OPERATIONS.items():
        for method, operation in operations.items():
            if readonly and method != "GET":
                continue
            paths.setdefault(f"/api/{path}", {})[method.lower()] = _described(
                path, method.lower(), operation, schema_of
            )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "naq",
            "version": __version__,
            "description": (
                "What the dashboard shows and does. Times are seconds since the epoch, durations "
                "seconds. In an id a slash is written %2F."
            ),
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": COOKIE,
                    "description": "What a browser gets at /login; to act, it sends "
                    "X-CSRF-Token as well.",
                },
            },
        },
    }


def _described(
    path: str, method: str, operation: Operation, schema_of: dict[str, Any]
) -> dict[str, Any]:
    answer = schema_of[repr(operation.answer)]
    found = _operation(path, method, operation.summary, answer, schema_of)
    found["parameters"] = _query(operation.query)
    if "{id}" in path:
        schema = msgspec.json.schema(IDS.get(path.partition("/")[0], JOB_ID))
        found["parameters"].append({"name": "id", "in": "path", "required": True, "schema": schema})
    if operation.body is not None:
        found["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema_of[repr(operation.body)]}},
        }
    return found


def _query(kind: type) -> list[dict[str, Any]]:
    document = msgspec.json.schema(kind)
    properties = document["$defs"][kind.__name__]["properties"]
    return [{"name": name, "in": "query", "schema": of} for name, of in properties.items()]


def _operation(
    path: str, method: str, summary: str, answer: Any, schema_of: dict[str, Any]
) -> dict[str, Any]:
    def content(of: Any, text: str) -> dict[str, Any]:
        return {"description": text, "content": {"application/json": {"schema": of}}}

    problems = _READ if method == "get" else _ACT
    words = path.replace("{id}", "one").replace(".", "/").replace("-", "/").split("/")
    return {
        "operationId": "_".join([method, *words]),
        "tags": [path.partition("/")[0]],
        "summary": summary,
        "responses": {
            "200": content(answer, "the answer"),
            **{code: content(schema_of[repr(Problem)], text) for code, text in problems.items()},
        },
    }
