"""Which version of naq this is; the build reads it here, too."""

from __future__ import annotations

__version__ = "0.1.0"
