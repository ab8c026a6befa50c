"""What a run ran on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

__all__ = ["describe", "facts"]


def facts() -> dict[str, Any]:
    """Return the hardware and the system."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load_before": list(os.getloadavg()),
    }


def describe(found: dict[str, Any]) -> str:
    """Return :func:`facts` in a line."""
    return (
        f"{found['cores']} cores ({found['cpu']}), {found['memory_gib']:.0f} GiB, "
        f"{found['kernel']}, Python {found['python']}"
    )


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
