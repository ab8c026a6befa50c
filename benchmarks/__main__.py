"""``python -m benchmarks`` (``make bench``): naq's own numbers on this machine.

Each figure is the median of some runs with the lowest and highest beside it. All is written to
``benchmarks/results/latest.json`` as well.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import anyio
from rich.console import Console
from rich.table import Table

import naq
from benchmarks import schedules, startup, throughput
from naq.server import find_binary

RESULTS = Path(__file__).parent / "results"


def run(function, *arguments):
    """Run a measurement on uvloop and return what it found."""
    return anyio.run(function, *arguments, backend_options={"use_uvloop": True})


def main():
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3, help="of each measurement")
    parser.add_argument("--only", help="measurements with this in their title")
    arguments = parser.parse_args()
    runs = arguments.runs
    found = {}
    console = Console()
    measurements = [
        *[
            (f"drain on {loop}", lambda loop=loop: run(throughput.drain, loop, runs))
            for loop in throughput.LOOPS
        ],
        ("enqueue", lambda: run(throughput.enqueue, runs)),
        ("latency", lambda: run(throughput.latency, runs)),
        ("schedules at rest", lambda: run(schedules.at_rest, 1)),
        ("lateness of schedules", lambda: run(schedules.lateness, 1)),
        ("start-up", lambda: startup.version(runs) | startup.up(runs)),
    ]
    for title, measure in measurements:
        if arguments.only and arguments.only not in title:
            continue
        with console.status(f"measuring: {title}"):
            found |= measure()
    report(console, found, runs)


def report(console, found, runs):
    """Print the table and write the file."""
    table = Table("", "median", "lowest", "highest", title=f"{machine()}; {runs} runs each")
    for name, (values, unit) in found.items():
        cells = (statistics.median(values), min(values), max(values))
        table.add_row(name, *(shown(value, unit) for value in cells))
    console.print(table)
    RESULTS.mkdir(exist_ok=True)
    document = {
        "at": datetime.now(UTC).isoformat(),
        "machine": machine(),
        "naq": naq.__version__,
        "results": {
            name: {"unit": unit, "values": values} for name, (values, unit) in found.items()
        },
    }
    (RESULTS / "latest.json").write_text(json.dumps(document, indent=2) + "\n")


def shown(value, unit):
    """Return a figure as people read it."""
    if unit == "/s":
        return f"{value:,.0f}/s"
    return f"{value:.2f} {unit}" if value < 10 else f"{value:.0f} {unit}"


def machine():
    """Return what it ran on."""
    server = subprocess.run(
        [find_binary(), "--version"], capture_output=True, text=True, check=True
    )
    version = server.stdout.split("v")[-1].strip()
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"nats-server {version}"
    )


if __name__ == "__main__":
    main()
