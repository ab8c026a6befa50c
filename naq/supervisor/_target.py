"""From ``pkg.mod:func`` to the function."""

from __future__ import annotations

import importlib
import re
from typing import Any

from naq.exceptions import SupervisorError

__all__ = ["TARGET", "resolve"]

TARGET = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def resolve(target: str) -> Any:
    """Import the module and return what the name after the colon stands for.

    Raises:
        SupervisorError: there is no such module or name, or importing it failed.
    """
    module_name, _, path = target.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
    except (ImportError, AttributeError) as exc:
        raise SupervisorError(f"cannot import {target!r}: {exc}") from exc
    if not callable(found):
        raise SupervisorError(f"{target!r} is not callable")
    return found
