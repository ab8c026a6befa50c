"""``python -m benchmarks``: naq and its peers on the same work, on this machine, in one run.

Writes ``benchmarks/results/<date>.json``, ``.md`` and ``.svg``. ``docs/benchmarks.md`` says how it
is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

import naq
from benchmarks.measures import own
from benchmarks.measures.workloads import WORKLOADS, Workload
from benchmarks.report import chart, machine, rows, targets
from benchmarks.staging import brokers, revisions, runs, venvs
from benchmarks.staging.contestants import Contestant, beside, named
from benchmarks.staging.processes import stop_on_signals
from benchmarks.staging.stage import Options

RESULTS = Path(__file__).parent / "results"
NOT_IN_SHORT = "bare-await"


def main() -> None:
    """Measure, print, write."""
    options = _arguments()
    if options.list:
        _list()
        return
    if options.show:
        _report(json.loads(options.show.read_text()))
        return
    stop_on_signals()
    document = _describe(options)
    code: int | str | None = 0
    try:
        _measure(options, document)
    except (KeyboardInterrupt, SystemExit) as exc:
        # A full run takes hours; what it has measured by then is kept.
        code = exc.code if isinstance(exc, SystemExit) else 130
        document["interrupted"] = True
    if document["results"]:
        document["targets"] = [vars(one) for one in targets.verdicts(document["results"])]
        written = _write(document)
        _report(document)
        print(f"written to {', '.join(str(path) for path in written)}")
    raise SystemExit(code)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--full", action="store_true", help="all workloads, all jobs")
    parser.add_argument("--only", type=_names, help="workloads, with commas; see --list")
    parser.add_argument("--peers", type=_names, help="contestants, with commas; see --list")
    parser.add_argument(
        "--revision",
        action="append",
        default=[],
        metavar="REV",
        help="naq as it was at a git revision, beside naq as it is; may be given again",
    )
    parser.add_argument("--rounds", type=int, default=3, help="of each workload, in turns")
    parser.add_argument(
        "--redis-appendonly", action="store_true", help="Redis writes a log, synced every second"
    )
    parser.add_argument("--list", action="store_true", help="show workloads and contestants")
    parser.add_argument("--show", type=Path, metavar="JSON", help="print a former run again")
    options = parser.parse_args()
    known = {workload.name for workload in WORKLOADS} | set(own.MEASUREMENTS)
    if unknown := sorted(set(options.only or ()) - known):
        parser.error(f"no workload {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    try:
        options.revision = [revisions.resolve(one) for one in options.revision]
        options.contestants = beside(named(options.peers), options.revision)
    except ValueError as exc:
        parser.error(str(exc))
    return options


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _list() -> None:
    print("workloads")
    for workload in WORKLOADS:
        print(f"  {workload.name:14}{workload.title}")
    for name, (title, _) in own.MEASUREMENTS.items():
        print(f"  {name:14}{title} (naq only)")
    print("contestants")
    for one in named(None):
        print(f"  {one.name:14}on {one.broker}")


def _measure(options: argparse.Namespace, document: dict[str, Any]) -> None:
    """Add everything that is found."""
    console = Console(stderr=True)
    sizes = Options(full=options.full, everysec=options.redis_appendonly)
    with console.status("preparing the environments of the peers"):
        absent = runs.ready(options.contestants)
    for name, why in absent.items():
        console.print(f"{name}: {why}")
    there = [one for one in options.contestants if one.name not in absent]
    document["absent"] = absent
    document["versions"] = {one.name: venvs.versions(one) for one in there}
    document["brokers"] = _brokers(there, everysec=options.redis_appendonly)
    found = document["results"]
    with console.status("") as status:

        def say(text: str) -> None:
            status.update(text)
            if "failed" in text or not console.is_terminal:
                console.print(text, markup=False, highlight=False)

        if not options.full and not options.only:
            who = [one for one in there if options.peers or one.name != NOT_IN_SHORT]
            runs.run_quick(who, sizes, options.rounds, found=found, say=say)
        else:
            for workload in _wanted(options):
                who = [one for one in there if not workload.only or one.base in workload.only]
                rounds = min(options.rounds, workload.rounds)
                places = found.setdefault(workload.name, {})
                runs.run(workload, who, sizes, rounds, found=places, say=say)
        for name in own.wanted(options.only, full=options.full):
            say(name)
            found[name] = own.measure(name, options.revision, options.rounds)


def _wanted(options: argparse.Namespace) -> list[Workload]:
    return [one for one in WORKLOADS if not options.only or one.name in options.only]


def _describe(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks", *sys.argv[1:]]),
        "full": options.full,
        "machine": machine.facts(),
        "naq": naq.__version__,
        "interrupted": False,
        "absent": {},
        "versions": {},
        "brokers": {},
        "results": {},
        "targets": [],
    }


def _brokers(there: list[Contestant], *, everysec: bool) -> dict[str, dict[str, str]]:
    found = {}
    for kind in sorted({one.broker for one in there}):
        stated = "redis-everysec" if kind == "redis" and everysec else kind
        durability = brokers.DURABILITY[stated]
        found[kind] = {"version": brokers.version(kind), "durability": durability}
    return found


def _write(document: dict[str, Any]) -> list[Path]:
    """Write the run beside those of other days."""
    RESULTS.mkdir(exist_ok=True)
    stem = document["at"][:16].replace(":", "")
    found, everybody = document["results"], _everybody(document)
    texts = {
        "json": json.dumps(document, indent=1) + "\n",
        "md": markdown(document),
        "svg": chart.svg(found, everybody),
    }
    written = []
    for suffix, text in texts.items():
        path = RESULTS / f"{stem}.{suffix}"
        path.write_text(text)
        written.append(path)
    return written


def _everybody(document: dict[str, Any]) -> list[str]:
    # What only naq is measured on has figures of it even where it is not among the contestants.
    measured = [name for entries in document["results"].values() for name in entries]
    return list(dict.fromkeys([*document["versions"], *measured]))


def markdown(document: dict[str, Any]) -> str:
    """Return the run as a page: what it ran on, the figures, who is missing where, the targets."""
    found = document["results"]
    lines = [
        f"`{document['command']}`, {document['at']}"
        + (", interrupted" if document.get("interrupted") else ""),
        "",
        machine.describe(document["machine"]),
    ]
    for kind, facts in document["brokers"].items():
        lines.append(f"{kind}: {facts['version']}; {facts['durability']}")
    lines += [
        "",
        rows.table(found, _everybody(document)),
        "Medians (lowest…highest of the rounds).",
        "",
    ]
    if compared := rows.ratios(found, _everybody(document)):
        lines += [compared, ""]
    for workload, entries in found.items():
        for name, entry in entries.items():
            if entry.get("why") and not entry["rounds"]:
                lines.append(f"- {workload}, {name}: {entry['why']}")
    for name, why in document["absent"].items():
        lines.append(f"- {name}: {why}")
    judged = [targets.Verdict(**one) for one in document["targets"]]
    return "\n".join([*lines, "", targets.table(judged)])


def _report(document: dict[str, Any]) -> None:
    print(markdown(document))


if __name__ == "__main__":
    main()
