"""Fixtures of the supervisor's process tests; the rest is in supervisor_harness.py."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from supervisor_harness import PATIENCE, Lines, Running, Up

from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("process")


@pytest.fixture
def run_project(tmp_path: Path):
    """Give a context manager that runs services and stops them at its end."""

    @asynccontextmanager
    async def run(services: dict, *, kinds=KINDS, **tables) -> AsyncIterator[Running]:
        for table in services.values():
            table.setdefault("type", "command")
        document = {"version": 1, "services": services, **tables}
        document.setdefault("logging", {"level": "debug"})
        topology = config.parse(document, kinds=kinds, directory=tmp_path)
        supervisor = Supervisor(topology, kinds=kinds)
        lines = Lines()
        supervisor.hub.attach(lines)
        running = Running(supervisor, lines)

        async def main() -> None:
            with running.scope:
                running.exit_code = await supervisor.run()
            running.over.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(main)
            # The board has no replicas before the services are set up.
            with trio.fail_after(PATIENCE):
                await set_up(supervisor)
            try:
                yield running
            except BaseException:
                supervisor.hurry()
                raise
            supervisor.stop()
        assert not (tmp_path / ".naq" / "run" / "state.json").exists()

    return run


async def set_up(supervisor: Supervisor) -> None:
    names = list(supervisor.topology.services)
    await supervisor.board.wait(names, lambda: any(True for _ in supervisor.board) or None)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Give a function that writes supervisor.toml, if there is a text, and runs `naq up`."""
    started: list[Up] = []

    def start(toml: str | None = None, *arguments: str, **options) -> Up:
        if toml is not None:
            (tmp_path / "supervisor.toml").write_text(toml)
        started.append(Up(tmp_path, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        one.close()
