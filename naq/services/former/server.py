"""Now :mod:`naq.services.server`."""

from __future__ import annotations

from naq.services.server import (
    DEFAULT_PORT,
    EmbeddedServer,
    find_binary,
    run_server,
)

__all__ = ["DEFAULT_PORT", "EmbeddedServer", "find_binary", "run_server"]
