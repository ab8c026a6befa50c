"""``python -m benchmarks.supervisors``: naq, circus, supervisord and honcho on the same work.

All in one run, one after the other.

Each peer gets a virtual environment of its own; one that cannot be installed is left out. All
figures are written to ``benchmarks/results/supervisors.json`` as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.supervisors import measure
from benchmarks.supervisors.peers import PEERS

RESULTS = Path(__file__).parents[1] / "results" / "supervisors.json"
VENVS = Path("~/.cache/naq-bench").expanduser()
# Peers that look for dead children once a second would take minutes otherwise.
KILLS = {"naq": 200, "circus": 10, "supervisord": 10, "honcho": 0}
ROWS = {
    "start_50_s": ("50 children running", 1000, "ms"),
    "stop_50_s": ("50 children stopped", 1000, "ms"),
    "restart_p50_s": ("restart after kill -9, p50", 1000, "ms"),
    "restart_p99_s": ("restart after kill -9, p99", 1000, "ms"),
    "idle_cpu_percent": ("idle with 50", 1, "% CPU"),
    "rss_50_bytes": ("resident with 50", 2**-20, "MiB"),
    "rss_per_child_bytes": ("resident per further child", 2**-10, "KiB"),
    "ps_s": ("naq ps with 50", 1000, "ms"),
    "print_s": ("print of 200 children, p99.9", 1000, "ms"),
    "print_with_a_stalled_client_s": ("the same, a client not reading", 1000, "ms"),
    "after_500_restarts_rss_bytes": ("500 restarts leave: memory", 2**-10, "KiB"),
    "after_500_restarts_descriptors": ("descriptors", 1, ""),
    "after_500_restarts_threads": ("threads", 1, ""),
    "after_500_restarts_zombies": ("zombies", 1, ""),
}


def main():
    """Install, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venvs", type=Path, default=VENVS, help="where peers are installed")
    parser.add_argument("--runs", type=int, default=3, help="of starting and stopping")
    parser.add_argument("--only", nargs="*", help="these peers")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    found, versions = {}, {}
    for peer in (kind(options.venvs) for kind in PEERS):
        if options.only and peer.name not in options.only:
            continue
        with console.status(f"installing {peer.name}"):
            problem = install(peer)
        if problem:
            console.print(f"{peer.name}: left out, cannot be installed: {problem}")
            continue
        versions[peer.name] = peer.version()
        found[peer.name] = measure_all(console, peer, options.runs)
    report(console, found, versions)


def install(peer):
    """Install a peer; return what went wrong."""
    try:
        return peer.install()
    except Exception as exc:  # noqa: BLE001 - whatever it is, the others are measured
        return f"{type(exc).__name__}: {exc}"


def measure_all(console, peer, runs):
    """Return all figures of one peer; what cannot be measured is told and left out."""
    steps = [
        ("start and stop", lambda: measure.start_and_stop(peer, runs)),
        ("idle", lambda: measure.idle(peer)),
        ("restart", lambda: measure.restart(peer, KILLS[peer.name])),
    ]
    if peer.name == "naq":
        steps += [
            ("naq ps", lambda: measure.ps_time(peer)),
            ("a stalled client", lambda: measure.stalled_client(peer)),
            ("500 restarts", lambda: measure.restarts_growth(peer)),
        ]
    figures = {}
    for title, step in steps:
        with console.status(f"{peer.name}: {title}"):
            try:
                figures |= step()
            except TimeoutError:
                console.print(f"{peer.name}: {title}: not done in {measure.PATIENCE:g} s")
    return figures


def report(console, found, versions):
    """Print the table and write the file."""
    names = [f"{name} {version}" for name, version in versions.items()]
    table = Table(title=machine())
    for heading in ("", *names):
        table.add_column(heading, no_wrap=True, justify="right" if heading else "left")
    for key, (title, factor, unit) in ROWS.items():
        values = [figures.get(key) for figures in found.values()]
        if any(value is not None for value in values):
            cells = ("-" if v is None else f"{v * factor:,.1f} {unit}".rstrip() for v in values)
            table.add_row(title, *cells)
    console.print(table)
    RESULTS.parent.mkdir(exist_ok=True)
    written = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "versions": versions,
        "figures": found,
    }
    RESULTS.write_text(json.dumps(written, indent=2) + "\n")
    console.print(f"written to {RESULTS}")


def machine() -> str:
    """Return what this runs on."""
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} CPUs, Python {platform.python_version()}"


if __name__ == "__main__":
    main()
