"""What pickles call naq's own names: the same in every release, wherever they are defined.

A pickle names each class and function by its module, and what one release writes another reads. So
no pickle may name an internal module, which may be gone in the next release: a public name belongs
to ``naq`` itself. :func:`public` says so where it is defined.
"""

from __future__ import annotations

from typing import TypeVar

__all__ = ["public"]

T = TypeVar("T")


def public(defined: T) -> T:
    """Let a class or function be known as ``naq.<name>``."""
    defined.__module__ = "naq"
    return defined
