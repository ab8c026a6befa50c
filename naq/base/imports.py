"""Where modules are imported from: the project's directory, behind Python's own library; and when.

A program of naq's is started with ``-P``, so that no file beside it is taken for one of naq's or of
Python's own (a ``naq.py`` would be run instead of naq, a ``queue.py`` imported by the first thread
pool). What the project has is found before what is installed, as with ``python -m``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["PYTHON", "here", "let_import", "when_imported"]

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
    import sysconfig  # noqa: PLC0415 - for who imports the user's modules alone

    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    own |= {f"{path}/lib-dynload" for path in own}
    return max((place for place, path in enumerate(sys.path, 1) if path in own), default=0)


def when_imported(name: str, function: Callable[[ModuleType], None]) -> None:
    """Call ``function`` with a module of somebody else's: now, or once that is imported.

    So what is to be set up in a package costs nothing where nobody uses the package.

    Args:
        name: of a module that is in no package.
        function: called once; what it raises, the import raises.
    """
    module = sys.modules.get(name)
    if module is None:
        sys.meta_path.insert(0, _Awaited(name, function))
    else:
        function(module)


class _Awaited:
    """A finder that lets the others find, and calls a function when what they found is there."""

    def __init__(self, name: str, function: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._function = function

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                if spec.loader is not None:
                    spec.loader = cast("Loader", _Telling(spec.loader, self._there))
                return spec
        return None

    def _there(self, module: ModuleType) -> None:
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._function(module)


class _Telling:
    """A module's loader that calls a function when the module has been executed.

    It has what ``importlib.abc.Loader`` has, and not that base, which is expensive to import.
    """

    def __init__(self, loader: Any, function: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._function = function

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._function(module)
