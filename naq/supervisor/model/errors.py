"""Errors in words that a person reads, and the one that is an answer: :class:`Refused`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq.exceptions import NaqException

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Refused", "leaves", "reason", "summary"]


def summary(error: BaseException) -> str:
    """Return the messages of an error, or of all errors in a group, on one line."""
    each = (" ".join(f"{type(e).__name__}: {e}".split()).removesuffix(":") for e in leaves(error))
    return "; ".join(dict.fromkeys(each))


def reason(error: Exception) -> str:
    """Return an error's message; with its type only where the text was not written for a person."""
    known = isinstance(error, (OSError, NaqException)) and str(error)
    return " ".join(str(error).split()) if known else summary(error)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the errors of a group at any depth; an error that is no group is its only leaf."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


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
