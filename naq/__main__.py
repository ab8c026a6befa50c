"""``python -m naq``."""

from __future__ import annotations

from naq.cli import main

if __name__ == "__main__":
    main()
