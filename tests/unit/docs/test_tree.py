"""The tree itself: a folder is one duty that is seen at a glance, and says what is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MOST = 12
"""Entries of a folder, without dunder files and the marker ``py.typed``."""
SKIPPED = {"__pycache__", "results", "py.typed"}


def folders():
    for name in ("naq", "tests", "benchmarks", "examples", "docs"):
        yield ROOT / name
        for path in (ROOT / name).rglob("*"):
            if path.is_dir() and not SKIPPED & set(path.parts):
                yield path


def entries(folder: Path) -> list[Path]:
    return [
        path
        for path in folder.iterdir()
        if not path.name.startswith((".", "__")) and path.name not in SKIPPED
    ]


@pytest.mark.parametrize("folder", sorted(folders()), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_is_seen_at_a_glance(folder):
    assert len(entries(folder)) <= MOST


@pytest.mark.parametrize("package", sorted((ROOT / "naq").rglob("__init__.py")), ids=str)
def test_a_package_says_what_is_in_it(package):
    """Each module stands in the docstring of its package; none has a private name."""
    if package.parent == ROOT / "naq":
        return  # the public names; its map is in docs/design/architecture.md
    said = re.findall(r"\w+", package.read_text().split('"""')[1])
    names = {path.stem for path in entries(package.parent) if path.suffix in ("", ".py")}
    assert names <= set(said)
    assert not any(name.startswith("_") for name in names)
