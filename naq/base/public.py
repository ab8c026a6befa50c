"""What pickles call naq's own names: the same in every release, wherever they are defined.

A pickle names each class and function by its module, and what one release writes another reads. So
no pickle may name an internal module, which may be gone in the next release: a public name belongs
to ``naq`` itself. :func:`public` says so where it is defined.
"""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import TypeVar, get_type_hints

__all__ = ["public"]

T = TypeVar("T")


def public(defined: T) -> T:
    """Let a class or function be known as ``naq.<name>``."""
    if isinstance(defined, type):
        _resolve_annotations(defined)
    defined.__module__ = "naq"
    return defined


def _resolve_annotations(cls: type) -> None:
    """Turn annotations from text into types while their names can still be looked up.

    msgspec, pydantic and others look them up in the class's module.
    """
    own = inspect.get_annotations(cls)
    with suppress(NameError):  # a name for type checkers alone
        found = get_type_hints(cls, include_extras=True)
        cls.__annotations__ = {name: found[name] for name in own}
