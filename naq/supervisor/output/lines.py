r"""From the bytes a program prints to lines that are safe to show.

Pure. A program may print anything: half a character at the end of a read, a megabyte without a
newline, a progress bar, escape sequences that move the cursor or set the terminal's title. What
comes out is text that stays on its own line:

* invalid UTF-8 becomes U+FFFD;
* a line longer than the limit is cut into pieces of that length, between characters;
* of a line that a carriage return overwrote, what was written last is kept, as on a terminal;
* colours (SGR sequences) are kept and closed at the end of the line, for sinks that show them;
  :func:`without_colours` is for those that do not. All other escape sequences are removed;
* any other control character except the tab is shown as ``\x07``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["Line", "LineSplitter", "printable", "without_colours"]

_SGR = re.compile(r"\x1b\[[0-9;:]*m")
_ESCAPES = re.compile(
    r"\x1b\[(?![0-9;:]*m)[0-?]*[ -/]*[@-~]?"  # CSI, other than SGR
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS, SOS, PM, APC up to their end
    r"|\x1b[ -/]*[0-OQ-WYZ\\`-~]"  # two-character sequences
    r"|\x1b(?!\[)"
)
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_CONTROL_BUT_ESCAPE = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output.

    Attributes:
        time: wall clock, seconds since the epoch.
        service: who printed it; ``naq`` for the supervisor itself.
        replica: which replica, 0 where there is only one.
        text: safe to print; may have colours.
        level: of the supervisor's own lines.
        run: which run of the replica printed it.
    """

    time: float
    service: str
    replica: int
    text: str
    level: str = "info"
    run: int = 0

    @property
    def name(self) -> str:
        """``service`` or ``service.N``."""
        return f"{self.service}.{self.replica}" if self.replica else self.service


class LineSplitter:
    """Cuts a stream of bytes into lines of at most ``max_line`` bytes, without their newline."""

    def __init__(self, max_line: int) -> None:
        self._max_line = max_line
        self._rest = b""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if any(len(line) > self._max_line for line in lines):
            lines = [piece for line in lines for piece in self._pieces(line)]
        if len(self._rest) > self._max_line:
            *pieces, self._rest = self._pieces(self._rest)
            lines += pieces
        return lines

    def flush(self) -> list[bytes]:
        """Return what is left when the stream has ended."""
        rest, self._rest = self._rest, b""
        return [rest] if rest else []

    def _pieces(self, line: bytes) -> list[bytes]:
        pieces = []
        while len(line) > self._max_line:
            cut = self._max_line
            # Step back over the continuation bytes of the character the limit falls into.
            while cut > self._max_line - 4 and line[cut] & 0xC0 == 0x80:
                cut -= 1
            pieces.append(line[:cut])
            line = line[cut:]
        return [*pieces, line]


def printable(line: bytes) -> str:
    """Return ``line`` as text that stays on its line; colours are kept."""
    text = line.decode("utf-8", "replace")
    if not _CONTROL.search(text):
        return text
    text = text.rstrip("\r")
    if "\r" in text:
        text = next((part for part in reversed(text.split("\r")) if part), "")
    text = _CONTROL_BUT_ESCAPE.sub(_visible, _ESCAPES.sub("", text))
    return f"{text}\x1b[0m" if "\x1b" in text and not text.endswith("\x1b[0m") else text


def without_colours(text: str) -> str:
    """Return a printable text without its SGR sequences."""
    return _SGR.sub("", text) if "\x1b" in text else text


def _visible(found: re.Match[str]) -> str:
    return f"\\x{ord(found[0]):02x}"
