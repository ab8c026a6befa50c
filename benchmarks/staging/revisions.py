"""naq as it was at a git revision, so that two of them can be measured in one run.

The benchmarks are always those of today: a revision's tree is exported, and its ``benchmarks``
folder is replaced by a link to this one.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from pathlib import Path

__all__ = ["ROOT", "TREES", "export", "resolve"]

ROOT = Path(__file__).parents[2]
TREES = ROOT / ".naq" / "bench" / "revisions"


def resolve(revision: str) -> str:
    """Return the short hash of the commit that a branch, a tag or a hash stands for.

    Raises:
        ValueError: there is no such commit.
    """
    done = _git("rev-parse", "--verify", "--short=10", f"{revision}^{{commit}}")
    if done.returncode:
        raise ValueError(f"git knows no revision {revision!r}")
    return done.stdout.decode().strip()


def export(commit: str) -> Path:
    """Return the directory with the files of a commit, made once."""
    tree = TREES / commit
    if tree.exists():
        return tree
    done = _git("archive", "--format=tar", commit)
    done.check_returncode()
    unfinished = tree.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(unfinished, filter="data")
    shutil.rmtree(unfinished / "benchmarks", ignore_errors=True)
    (unfinished / "benchmarks").symlink_to(ROOT / "benchmarks")
    unfinished.rename(tree)
    return tree


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
