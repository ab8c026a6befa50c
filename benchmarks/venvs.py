"""An environment for each peer, from its pinned packages, made once."""

from __future__ import annotations

import json
import subprocess
import sys
import venv
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.contestants import Contestant

__all__ = ["VENVS", "ensure", "python", "versions"]

VENVS = Path(__file__).parents[1] / ".naq" / "bench" / "venvs"
INSTALL_TIMEOUT = 600


def python(contestant: Contestant) -> str:
    """Return the interpreter a contestant runs in."""
    return sys.executable if contestant.ours else str(VENVS / contestant.name / "bin" / "python")


def ensure(contestant: Contestant) -> str:
    """Make its environment unless it is there; return what went wrong, or nothing."""
    if contestant.ours:
        return ""
    wanted = contestant.requirements.read_text()
    stamp = VENVS / contestant.name / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    venv.create(stamp.parent, with_pip=True, symlinks=True)
    command = [python(contestant), "-m", "pip", "install", "--quiet", "--requirement"]
    done = subprocess.run(
        [*command, str(contestant.requirements)],
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
