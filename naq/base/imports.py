"""Where modules are imported from: the project's directory, behind Python's own library.

A program of naq's is started with ``-P``, so that no file beside it is taken for one of naq's or of
Python's own (a ``naq.py`` would be run instead of naq, a ``queue.py`` imported by the first thread
pool). What the project has is found before what is installed, as with ``python -m``.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

__all__ = ["PYTHON", "here", "let_import"]

PYTHON = (sys.executable, "-P")
"""How a program of naq's own is started."""


def here() -> Path | None:
    """Return the current directory; None if it has been deleted (a release that was replaced)."""
    try:
        return Path.cwd()
    except OSError:
        return None


def let_import(directory: Path | None = None) -> None:
    """Let modules be imported from ``directory``, or from the current one, if it is there."""
    found = directory or here()
    if found is not None and str(found) not in sys.path:
        sys.path.insert(_behind_the_library(), str(found))


def _behind_the_library() -> int:
    """Return the place in ``sys.path`` after Python's own library."""
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    own |= {f"{path}/lib-dynload" for path in own}
    return max((place for place, path in enumerate(sys.path, 1) if path in own), default=0)
