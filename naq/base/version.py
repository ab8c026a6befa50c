"""The version of naq, for the program itself and for the build."""

from __future__ import annotations

__version__ = "0.1.0"
