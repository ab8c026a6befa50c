r"""Text of others made safe to show: what a terminal would obey is written out instead.

What is stored on a server, or said by a program, may hold escape sequences that clear a screen,
write to the clipboard or hide what follows, marks that turn the direction of text, and line breaks
that forge lines (https://cwe.mitre.org/data/definitions/150.html). They are shown as Python writes
them in a literal: ``\x1b``.
"""

from __future__ import annotations

import re

__all__ = ["block", "document", "inline"]

# C0 and C1 controls, marks of direction (UAX #9), separators of lines, what cannot be encoded.
_MARKS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff\ud800-\udfff"
_INLINE = re.compile(f"[\x00-\x1f\x7f-\x9f{_MARKS}]")
_BLOCK = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_MARKS}]")


def inline(text: str) -> str:
    """Return ``text`` on one line, with nothing in it that a terminal obeys."""
    return text if text.isprintable() else _INLINE.sub(_escaped, text)


def block(text: str) -> str:
    """Return ``text`` with its line breaks and tabs, and nothing else that a terminal obeys."""
    return text if text.isprintable() else _BLOCK.sub(_escaped, text)


def document(json: str) -> str:
    """Return a JSON document that means the same, as :func:`block` does."""
    return json if json.isprintable() else _BLOCK.sub(lambda it: f"\\u{ord(it[0]):04x}", json)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
