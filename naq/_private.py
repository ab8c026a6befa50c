"""Files that only this user may read, and secrets that are kept in them."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["kept_token", "write_private"]


def kept_token(path: Path) -> str:
    """Return the token in a file; the first time one that nobody can guess is put there.

    Raises:
        OSError: the file can neither be read nor written.
    """
    try:
        token = path.read_text("utf-8").strip()
    except FileNotFoundError:
        token = ""
    if not token:
        token = secrets.token_urlsafe(32)
        write_private(path, token)
    return token


def write_private(path: Path, text: str) -> None:
    """Replace ``path`` by a file that was never readable by anyone else."""
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    new.replace(path)
