"""Which log file a replica writes to, and what a full or slow disk costs."""

from __future__ import annotations

import os

import trio

from naq.supervisor.kinds.topology import Topology
from naq.supervisor.model.spec import LogFile, Logging, Rotation, ServiceSpec
from naq.supervisor.output import files as logfiles
from naq.supervisor.output.files import LogFiles, plan
from naq.supervisor.output.hub import LogHub


def topology(tmp_path, service: LogFile | None = None, **logging) -> Topology:
    spec = ServiceSpec(name="web", replicas=2, logging=service or LogFile(), port=80)
    return Topology(
        name="shop", directory=tmp_path, services={"web": spec}, logging=Logging(**logging)
    )


def test_which_file_a_replica_writes(tmp_path):
    own = LogFile(file="logs/{service}-{replica}-{port}.log", rotate=Rotation(keep=1))
    assert plan(topology(tmp_path, own), "web", 2) == (
        tmp_path / "logs" / "web-2-81.log",
        Rotation(keep=1),
    )
    in_dir = topology(tmp_path, dir="logs")
    assert plan(in_dir, "web", 2) == (tmp_path / "logs" / "web.2.log", Rotation())
    assert plan(in_dir, "naq", 0) == (tmp_path / "logs" / "naq.log", Rotation())
    assert plan(topology(tmp_path), "web", 1) is None


def test_lines_are_written_with_time_and_name(tmp_path):
    async def main():
        files = LogFiles(topology(tmp_path, LogFile(file="{replica}.log")), warn=[].append)
        hub = LogHub(Logging())
        async with files.writing(hub):
            hub.source("web", 1).put([b"\x1b[31mred"])
            hub.source("web", 2).put([b"two"])

    trio.run(main)
    assert (tmp_path / "1.log").read_text().endswith("+00:00 web.1 | red\n")
    assert (tmp_path / "2.log").read_text().endswith("+00:00 web.2 | two\n")


async def true(condition) -> None:
    """Wait for the thread that writes."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110 - that is what this is for
            await trio.sleep(0.001)


def test_a_full_disk_drops_and_counts_and_says_so_once(tmp_path):
    (tmp_path / "full.log").symlink_to("/dev/full")
    said = []

    async def main():
        files = LogFiles(topology(tmp_path, LogFile(file="full.log")), warn=said.append)
        hub = LogHub(Logging())
        source = hub.source("web", 1)
        async with files.writing(hub):
            for _ in range(5):
                source.put([b"lost"])
            await true(lambda: files.dropped and said)
            (tmp_path / "full.log").unlink()
            files.reopen()
            source.put([b"kept"])
            await true(lambda: len(said) == 2)
        return files.dropped

    dropped = trio.run(main)
    assert 1 <= dropped <= 5
    assert "No space left on device; its lines are dropped" in said[0]
    assert said[1].endswith(f"can be written again; {dropped} lines were dropped")
    assert "kept" in (tmp_path / "full.log").read_text()


def test_a_disk_that_does_not_answer_costs_lines_and_nothing_else(tmp_path, monkeypatch):
    # A FIFO that nobody reads stands for it; it is opened without waiting, and then it is full.
    os.mkfifo(tmp_path / "pipe.log")
    reader = os.open(tmp_path / "pipe.log", os.O_RDONLY | os.O_NONBLOCK)
    monkeypatch.setattr(logfiles, "_LIMIT", 64 * 1024)

    async def main():
        files = LogFiles(topology(tmp_path, LogFile(file="pipe.log")), warn=[].append)
        hub = LogHub(Logging())
        source = hub.source("web", 1)
        async with files.writing(hub):
            for _ in range(2000):
                source.put([b"x" * 1000])
        return files.dropped

    try:
        assert trio.run(main) > 100
    finally:
        os.close(reader)
