"""Files with variables, log files with their old ones, and a disk that is full."""

from __future__ import annotations

import gzip
import os

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.kinds import environment as envfile
from naq.supervisor.kinds.environment import parse
from naq.supervisor.kinds.schema import Invalid
from naq.supervisor.kinds.topology import Topology
from naq.supervisor.model.spec import LogFile, Logging, Rotation, ServiceSpec
from naq.supervisor.output import files as logfiles
from naq.supervisor.output.files import LogFiles, plan
from naq.supervisor.output.hub import LogHub
from naq.supervisor.output.rotation import RotatingFile

# ------------------------------------------------------------------ environment files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("\n# comment\nexport A = 1 # two\n", {"A": "1"}),
        ("A=a#b", {"A": "a#b"}),
        ('A="a # b\\n\\"c\\""', {"A": 'a # b\n"c"'}),
        ("A='a $B \\n'", {"A": "a $$B \\n"}),
        ("A=", {"A": ""}),
        ('A="one\ntwo" # end\nB=2', {"A": "one\ntwo", "B": "2"}),
        ("A=${HOME}/x", {"A": "${HOME}/x"}),
        ("A=1\nA=2", {"A": "2"}),
    ],
)
def test_lines(text, expected):
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("A=1\nnonsense", "line 2: expected NAME=value"),
        ("1A=x", "line 1: expected NAME=value"),
        ('A="never', "line 1: the quote is never closed"),
        ("A=\0", "line 1: holds a NUL"),
    ],
)
def test_what_is_no_environment_file(text, problem):
    with pytest.raises(Invalid, match=problem):
        parse(text)


@given(st.text())
def test_any_text_is_variables_or_a_refusal(text):
    try:
        variables = parse(text)
    except Invalid:
        return
    assert all(name.isidentifier() and "\0" not in value for name, value in variables.items())


def test_files_are_read_one_over_the_other(tmp_path):
    (tmp_path / "a").write_text("A=1\nB=1\n")
    (tmp_path / "b").write_text("B=2\n")
    assert envfile.read_all(tmp_path, ("a", "?gone", "b")) == {"A": "1", "B": "2"}
    with pytest.raises(Invalid, match="gone: no such file"):
        envfile.read_all(tmp_path, ("gone",))
    (tmp_path / "bad").write_bytes(b"\xff")
    with pytest.raises(Invalid, match="bad: cannot be read"):
        envfile.read_all(tmp_path, ("bad",))


def test_a_digest_changes_with_the_content_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("A=1\n")
    before = envfile.digest(tmp_path, ("a", "?b"))
    assert envfile.digest(tmp_path, ()) == ""
    os.utime(tmp_path / "a", (1, 1))
    assert envfile.digest(tmp_path, ("a", "?b")) == before
    (tmp_path / "b").write_text("")
    (tmp_path / "a").write_text("A=2\n")
    assert envfile.digest(tmp_path, ("a", "?b")) != before


# ------------------------------------------------------------------ rotation


def rotate(path, *lines: bytes, **spec) -> RotatingFile:
    file = RotatingFile(path, Rotation(**spec))
    for line in lines:
        file.write(line)
    return file


def test_old_files_are_numbered_and_the_oldest_go(tmp_path):
    path = tmp_path / "deep" / "s.log"
    rotate(path, b"1\n", b"2\n", b"3\n", b"4\n", max_size=2, keep=2, compress=False).close()
    found = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert found == {"s.log": b"4\n", "s.log.1": b"3\n", "s.log.2": b"2\n"}


def test_old_files_are_compressed_a_piece_at_a_time(tmp_path):
    path = tmp_path / "s.log"
    big = b"x" * (3 * 1024 * 1024) + b"\n"
    file = rotate(path, big, b"new\n", max_size=10, keep=2)
    assert path.read_bytes() == b"new\n"
    pieces = 1
    while file.work():
        pieces += 1
    assert pieces > 3
    assert gzip.decompress((tmp_path / "s.log.1.gz").read_bytes()) == big
    file.write(b"much newer\n")
    file.close()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["s.log", "s.log.1.gz", "s.log.2.gz"]


def test_none_are_kept_if_none_are_wanted(tmp_path):
    rotate(tmp_path / "s.log", b"1\n", b"2\n", max_size=2, keep=0).close()
    assert [f.name for f in tmp_path.iterdir()] == ["s.log"]


def test_files_that_are_too_old_are_removed(tmp_path):
    old = tmp_path / "s.log.1.gz"
    old.write_bytes(b"")
    os.utime(old, (1, 1))
    file = rotate(
        tmp_path / "s.log", b"1\n", b"2\n", max_size=2, keep=5, max_age=60.0, compress=False
    )
    file.close()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["s.log", "s.log.1"]


def test_a_file_that_was_put_aside_by_somebody_else(tmp_path):
    path = tmp_path / "s.log"
    file = rotate(path, b"1\n")
    path.rename(tmp_path / "aside")
    file.write(b"2\n")
    file.reopen()
    file.write(b"3\n")
    file.close()
    assert (tmp_path / "aside").read_bytes() == b"1\n2\n"
    assert path.read_bytes() == b"3\n"


def test_a_line_that_was_cut_by_a_full_disk_is_ended_before_the_next(tmp_path, monkeypatch):
    path = tmp_path / "s.log"
    file = rotate(path, b"1\n")
    write, room = os.write, [3]

    def short(fd, data):
        if room[0] <= 0:
            raise OSError(28, "No space left on device")
        count = write(fd, bytes(data)[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="No space"):
        file.write(b"second\n")
    room[0] = 1000
    file.write(b"third\n")
    file.close()
    assert path.read_bytes() == b"1\nsec\nthird\n"


# ------------------------------------------------------------------ which file


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
