"""The contestants, one file each. A file runs in the environment of its own contestant only."""

from __future__ import annotations
