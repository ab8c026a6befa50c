"""Log files that are rotated, compressed and removed."""

from __future__ import annotations

import gzip
import os

import pytest

from naq.supervisor.model.spec import Rotation
from naq.supervisor.output.rotation import RotatingFile


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
