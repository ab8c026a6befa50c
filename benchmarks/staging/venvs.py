"""An environment for each peer, from its pinned packages, made once."""

from __future__ import annotations

import json
import subprocess
import venv
from typing import TYPE_CHECKING

from benchmarks.staging import revisions
from benchmarks.staging.revisions import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.staging.contestants import Contestant

__all__ = ["VENVS", "ensure", "python", "tree", "versions"]

VENVS = ROOT / ".naq" / "bench" / "venvs"
INSTALL_TIMEOUT = 600


def python(contestant: Contestant) -> str:
    """Return the interpreter a contestant runs in."""
    return str(_home(contestant) / "bin" / "python")


def tree(contestant: Contestant) -> Path:
    """Return the directory its modules, and those of the benchmarks, are imported from."""
    return revisions.export(contestant.revision) if contestant.revision else ROOT


def _home(contestant: Contestant) -> Path:
    if contestant.revision:
        return VENVS / f"naq-{contestant.revision}"
    return VENVS / ("naq" if contestant.ours else contestant.name)


def ensure(contestant: Contestant) -> str:
    """Make its environment unless it is there; return what went wrong, or nothing."""
    # What users install, not what developers do: OpenTelemetry alone would cost each job a tenth.
    ours = ["--editable", str(tree(contestant))]
    packages = ours if contestant.ours else ["--requirement", str(contestant.requirements)]
    source = tree(contestant) / "pyproject.toml" if contestant.ours else contestant.requirements
    wanted = source.read_text()
    stamp = _home(contestant) / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    venv.create(stamp.parent, with_pip=True, symlinks=True)
    command = [python(contestant), "-m", "pip", "install", "--quiet"]
    done = subprocess.run(
        [*command, *packages],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["pip said nothing"]
        return f"it cannot be installed: {said[-1]}"
    stamp.write_text(wanted)
    return ""


def versions(contestant: Contestant) -> dict[str, str]:
    """Return all packages in its environment with their versions."""
    command = [
        python(contestant),
        "-m",
        "pip",
        "list",
        "--format",
        "json",
        "--disable-pip-version-check",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {package["name"]: package["version"] for package in json.loads(done.stdout)}
