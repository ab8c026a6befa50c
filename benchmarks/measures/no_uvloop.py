"""``naq`` on asyncio's own event loop: the command line, as if uvloop were not installed."""

from __future__ import annotations

import sys
from importlib import util

find_spec = util.find_spec
util.find_spec = lambda name, package=None: None if name == "uvloop" else find_spec(name, package)

if __name__ == "__main__":
    from naq.cli import main

    main(sys.argv[1:])
