"""Which functions may run where nothing is unpickled, named by whoever can publish a job.

Two kinds may: tasks, which their module's author has decorated, and functions that are defined in a
module somebody has allowed. A name is followed through classes of that module, and through nothing
else: what a module has merely imported is not its own, so ``tasks:os.system`` is no way to
``os.system``, whatever ``tasks`` imports. A name that is not allowed is not imported either.
"""

from __future__ import annotations

import inspect
import sys
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from naq.base import text
from naq.exceptions import SerializationError
from naq.jobs.calls.call import Declared

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["register", "resolve"]

_registered: set[str] = set()


def register(ref: str) -> None:
    """Allow ``ref``; ``@naq.task`` does so for each function it decorates."""
    _registered.add(ref)


def resolve(ref: str, allow: tuple[str, ...]) -> Callable[..., Any]:
    """Return the function ``ref`` names, if it may run.

    Args:
        ref: ``module:qualname``.
        allow: what is allowed beside tasks: modules, with all below them, or globs of whole names,
            such as ``shop.tasks:send_*``.

    Raises:
        SerializationError: it may not run.
        ImportError, AttributeError: it is not here.
    """
    if ref in _registered:
        return _named(ref)
    return _allowed(ref, allow)


@lru_cache(maxsize=4096)
def _allowed(ref: str, allow: tuple[str, ...]) -> Callable[..., Any]:
    """Return a function that is not known as a task; asked once for each, if it may run."""
    if not any(_matches(ref, pattern) for pattern in allow):
        raise SerializationError(
            f"{ref} is not allowed in JSON mode: decorate it with @naq.task in an imported "
            "module, or name its module with --allow or NAQ_ALLOW"
        )
    found = _named(ref)
    if not (ref in _registered or _is_own(ref)):  # importing its module may have registered it
        raise SerializationError(
            f"{ref} is not allowed in JSON mode: it is not a function defined in "
            f"{ref.partition(':')[0]}; decorate it with @naq.task there, or name it where it is "
            "defined"
        )
    return found


def _named(ref: str) -> Callable[..., Any]:
    try:
        found: Callable[..., Any] = text.resolve(ref)
    except ValueError as exc:
        raise SerializationError(str(exc)) from exc
    return found


def _matches(ref: str, pattern: str) -> bool:
    if ":" in pattern:
        return fnmatchcase(ref, pattern)
    module = ref.partition(":")[0]
    return fnmatchcase(module, pattern) or module.startswith(f"{pattern}.")


def _is_own(ref: str) -> bool:
    """Whether a function is defined in the module its name begins with, or is a task there."""
    name, _, path = ref.partition(":")
    *classes, last = path.split(".")
    place: Any = sys.modules[name]
    for step in classes:
        place = getattr(place, step)
        if not (isinstance(place, type) and _of(place, name)):
            return False
    found = getattr(place, last)
    if isinstance(found, Declared):
        return True
    if last.startswith("__") or isinstance(found, type) or not _of(found, name):
        return False
    # A decorator may have put an object in a function's place, under the function's name.
    return inspect.isroutine(found) or getattr(found, "__qualname__", None) == path


def _of(found: object, module: str) -> bool:
    return getattr(found, "__module__", None) == module
