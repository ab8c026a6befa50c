"""One run of one contestant: its broker, its producer, its workers, and the gate they start at."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.peers.programs.driver import idle_seconds
from benchmarks.staging import brokers, venvs
from benchmarks.staging.processes import cpu_seconds, kill, running, tree

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from benchmarks.staging.contestants import Contestant

__all__ = ["CannotError", "Options", "Stage", "staged"]

GATE_PATIENCE = 60.0
REFILL = 3.0
"""Seconds after which more gates are queued: somebody has prefetched those of others."""


class CannotError(Exception):
    """A contestant cannot do this; the text says why."""


class Options:
    """How large the runs are."""

    def __init__(self, *, full: bool, everysec: bool = False) -> None:
        self.full = full
        self.everysec = everysec


class Stage:
    """What a workload works with."""

    def __init__(
        self, contestant: Contestant, options: Options, home: Path, broker: brokers.Broker
    ) -> None:
        self.contestant = contestant
        self.options = options
        self.home = home
        self.broker = broker
        self._tree = venvs.tree(contestant)
        self.facts: dict[str, Any] = {}
        self._producer: subprocess.Popen[str]
        self._env: dict[str, str] = {}
        self._gates = 0
        self._gate = home
        self._cpu = 0.0
        self._cpu_then = 0.0
        self._idle = self._idle_then = 0.0

    def count(self, full: int, *, weight: float = 1.0, seconds: float = 1.5) -> int:
        """Return how many jobs a run has: ``full``, or what takes some seconds.

        Args:
            full: the number everybody has who can do it in a minute (in a full run).
            weight: how much dearer than a no-op a job is.
            seconds: what a short run may take.
        """
        limit = 60.0 if self.options.full else seconds
        return max(40, min(full, int(limit * self.contestant.speed / weight)))

    # ---------------------------------------------------------------- processes

    @contextlib.contextmanager
    def producer(self, *, results: bool) -> Iterator[None]:
        """Run the producer for the length of the block."""
        venv = Path(venvs.python(self.contestant)).parent
        self._env = {
            **os.environ,
            "BENCH_URL": self.broker.url,
            "BENCH_BROKER": str(self.broker.pid),
            "BENCH_VARIANT": self.contestant.variant,
            "BENCH_RESULTS": str(int(results)),
            "NAQ_NATS_URL": self.broker.url,
            "PYTHONPATH": str(self._tree),
            "PYTHONUNBUFFERED": "1",
            "PATH": f"{venv}:{os.environ['PATH']}",
        }
        python = venvs.python(self.contestant)
        command = [python, "-m", f"benchmarks.peers.{self.contestant.module}"]
        log = self.home / "producer.log"
        with running(command, env=self._env, cwd=self._tree, log=log, talks=True) as self._producer:
            self.facts = self._answer()
            self.ask("open")
            yield

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the producer do something; return its answer."""
        assert self._producer.stdin is not None
        try:
            self._producer.stdin.write(json.dumps({"do": command, **arguments}) + "\n")
            self._producer.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, and its log says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._producer.stdout is not None
        line = self._producer.stdout.readline()
        if not line:
            raise RuntimeError(f"the producer has ended:\n{self.logs()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def logs(self) -> str:
        """Return the ends of all logs."""
        texts = ((path.name, path.read_text()[-1500:]) for path in self.home.glob("*.log"))
        return "\n".join(f"--- {name}\n{text}" for name, text in texts if text)

    @contextlib.contextmanager
    def workers(self, number: int = 1, *, concurrency: int = 32) -> Iterator[list[int]]:
        """Run workers; yield their pids when all their slots hold a job behind the gate."""
        self._gates += 1
        self._gate = self.home / f"gate{self._gates}"
        self._gate.mkdir()
        with contextlib.ExitStack() as stack:
            pids = [stack.enter_context(self.worker(concurrency)) for _ in range(number)]
            self._fill_gates(number, concurrency)
            yield pids

    @contextlib.contextmanager
    def worker(self, concurrency: int) -> Iterator[int]:
        """Run one worker; yield its pid at once."""
        extra = {"BENCH_CONCURRENCY": str(concurrency), "BENCH_GATE": str(self._gate)}
        command = [part.format(concurrency=concurrency) for part in self.facts["worker"]]
        log = self.home / "worker.log"
        with running(command, env={**self._env, **extra}, cwd=self._tree, log=log) as process:
            yield process.pid

    @contextlib.contextmanager
    def helpers(self) -> Iterator[None]:
        """Run what else delayed jobs need."""
        with contextlib.ExitStack() as stack:
            for command in self.facts["helpers"]:
                log = self.home / "helper.log"
                stack.enter_context(running(command, env=self._env, cwd=self._tree, log=log))
            yield

    # ---------------------------------------------------------------- the gate

    def slots(self, concurrency: int) -> int:
        """Return how many jobs a worker runs at a time."""
        return self.facts["slots"] or concurrency

    def _fill_gates(self, workers: int, concurrency: int) -> None:
        """Hold every slot of every worker; prefetching ones need more gates than there are."""
        wanted = workers * self.slots(concurrency)
        until = time.monotonic() + GATE_PATIENCE
        held, missing, refill = 0, wanted, 0.0
        while held < wanted:
            now = time.monotonic()
            if now > refill:
                self._put_gates(missing, wanted)
                refill = now + REFILL
            time.sleep(0.02)
            before, held = held, len(list(self._gate.iterdir()))
            missing = wanted - held
            if held > before:
                refill = time.monotonic() + REFILL
            if time.monotonic() > until:
                raise RuntimeError(f"{held} of {wanted} slots were taken\n{self.logs()}")

    def _put_gates(self, number: int, slots: int) -> None:
        # All slots together look about 6,000 times a second, whatever their number.
        look = max(0.005, slots / 6400)
        args = [str(self._gate), look]
        self.ask("fill", job="gate", args=args, count=number, how="flight", watch=False)

    def busy(self) -> set[int]:
        """Return the processes that hold slots."""
        return {int(path.name.partition(".")[0]) for path in self._gate.glob("[0-9]*")}

    def release(self) -> float:
        """Open the gate; return when, on the machine's clock."""
        self._cpu = cpu_seconds(self.broker.pid)
        self._idle = idle_seconds()
        (self._gate / "open").touch()
        return time.monotonic()

    # ---------------------------------------------------------------- jobs

    def fill(self, job: str, args: list[Any], count: int) -> float:
        """Queue jobs in whatever way is fastest; return the seconds that took."""
        how = "flight" if "bulk" in self.facts["cannot"] or "#" in args else "bulk"
        if self.contestant.module == "bare":
            how = "flight"
        answer = self.ask("fill", job=job, args=args, count=count, how=how)
        return float(answer["seconds"])

    def finished(self, upto: int, *, patience: float = 300.0) -> float:
        """Wait for results of the first jobs; return when they were all there.

        Raises:
            RuntimeError: they are not, in time.
        """
        answer = self.ask("finished", upto=upto, patience=patience)
        if answer["missing"]:
            raise RuntimeError(f"{answer['missing']} of {upto} jobs have no result\n{self.logs()}")
        self._cpu_then, self._idle_then = float(answer["cpu"]), float(answer["idle"])
        return float(answer["at"])

    def broker_cpu_then(self) -> float:
        """Return the processor seconds of the broker from the gate to the last result."""
        return self._cpu_then - self._cpu

    def idle_then(self) -> float:
        """Return the seconds processors had nothing to do from the gate to the last result."""
        return self._idle_then - self._idle

    def broker_cpu(self) -> float:
        """Return the processor seconds of the broker since the gate was opened."""
        return cpu_seconds(self.broker.pid) - self._cpu

    def count_cpu(self) -> None:
        """Begin to count the broker's processor time without a gate."""
        self._cpu = cpu_seconds(self.broker.pid)

    def rss(self, pid: int) -> tuple[float, float]:
        """Return MB of the process of a worker that runs jobs, and of all its processes."""
        sizes = [member.memory_info().rss / 1e6 for member in tree(pid)]
        return max(sizes), sum(sizes)

    def destroy(self, pid: int) -> None:
        """``kill -9`` a worker with all its processes, as when its machine goes away."""
        kill(tree(pid))


@contextlib.contextmanager
def staged(contestant: Contestant, options: Options, *, results: bool) -> Iterator[Stage]:
    """Set a stage with broker and producer; strike it whatever happens.

    Args:
        contestant: who plays.
        options: how large the runs are.
        results: whether results must be readable, for those who do not store them otherwise.
    """
    with tempfile.TemporaryDirectory(prefix="naq-bench-", ignore_cleanup_errors=True) as home:
        everysec = options.everysec
        with brokers.serve(contestant.broker, Path(home), everysec=everysec) as broker:
            stage = Stage(contestant, options, Path(home), broker)
            with stage.producer(results=results):
                yield stage
