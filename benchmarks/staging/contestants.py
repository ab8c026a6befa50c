"""Who takes part: a line each. Everything else about a contestant is in its file in ``peers``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

__all__ = ["ALL", "NAQ", "Contestant", "at_revision", "beside", "named"]

REQUIREMENTS = Path(__file__).parents[1] / "requirements"


@dataclass(frozen=True)
class Contestant:
    """A library in one configuration.

    Attributes:
        name: in tables and on the command line.
        module: its file in ``benchmarks/peers``.
        broker: ``nats`` or ``redis``.
        speed: no-op jobs per second of one worker process, roughly: how many jobs a short run
            gets, so that it takes about as long for everybody.
        variant: what its file is told in ``BENCH_VARIANT``.
        ours: whether it runs in this project's environment instead of one of its own.
        asynchronous: whether its jobs are coroutines.
        revision: the commit of naq that runs; empty: what is in the working tree.
    """

    name: str
    module: str
    broker: str
    speed: int
    variant: str = ""
    ours: bool = False
    asynchronous: bool = True
    revision: str = ""

    @property
    def base(self) -> str:
        """Its name without a revision."""
        return self.name.partition("@")[0]

    @property
    def requirements(self) -> Path:
        """The pinned packages of its environment."""
        return REQUIREMENTS / f"{self.name}.txt"


NAQ = Contestant("naq", "naq", "nats", 16_000, "asyncio", ours=True)
ALL = (
    NAQ,
    Contestant("naq-uvloop", "naq", "nats", 16_000, "uvloop", ours=True),
    Contestant("naq-trio", "naq", "nats", 12_000, "trio", ours=True),
    Contestant("streaq", "streaq", "redis", 2_000),
    Contestant("saq", "saq", "redis", 1_500),
    Contestant("arq", "arq", "redis", 400),
    Contestant("taskiq-redis", "taskiq_redis", "redis", 2_000),
    Contestant("taskiq-nats", "taskiq_nats", "nats", 3_000),
    Contestant("rq", "rq", "redis", 50, asynchronous=False),
    Contestant("dramatiq", "dramatiq", "redis", 1_500, asynchronous=False),
    Contestant("celery", "celery", "redis", 600, asynchronous=False),
    Contestant("huey", "huey", "redis", 1_500, asynchronous=False),
    Contestant("bare", "bare", "nats", 16_000, "pipelined", ours=True),
    Contestant("bare-await", "bare", "nats", 4_000, "await", ours=True),
)


def named(names: list[str] | None) -> list[Contestant]:
    """Return the contestants with these names, in the order above; all without names.

    Raises:
        ValueError: there is none of a name.
    """
    known = {contestant.name for contestant in ALL}
    if unknown := sorted(set(names or ()) - known):
        raise ValueError(
            f"no contestant {', '.join(unknown)}; there are {', '.join(sorted(known))}"
        )
    return [contestant for contestant in ALL if not names or contestant.name in names]


def at_revision(contestant: Contestant, commit: str) -> Contestant:
    """Return a contestant that runs naq as naq was at a commit, ``naq@486a81c``."""
    return replace(contestant, name=f"{contestant.name}@{commit}", revision=commit)


def beside(contestants: list[Contestant], commits: list[str]) -> list[Contestant]:
    """Put naq as it was at some commits beside naq as it is."""
    found = []
    for contestant in contestants:
        found.append(contestant)
        if contestant.module == NAQ.module:
            found += [at_revision(contestant, commit) for commit in commits]
    return found
