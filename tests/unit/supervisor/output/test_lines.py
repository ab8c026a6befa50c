"""From bytes to lines: nothing lost, nothing dangerous, nothing unbounded."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.model.spec import Logging
from naq.supervisor.output.hub import LogHub
from naq.supervisor.output.lines import Line, LineSplitter, printable, without_colours


def split(chunks: list[bytes], max_line: int = 10_000) -> list[bytes]:
    splitter = LineSplitter(max_line)
    return [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.flush()


@given(st.lists(st.binary(max_size=50)))
def test_how_the_stream_was_cut_into_reads_makes_no_difference(chunks):
    assert split(chunks) == split([b"".join(chunks)])


@given(st.lists(st.binary(max_size=200)), st.integers(8, 50))
def test_lines_are_bounded_and_nothing_is_lost(chunks, max_line):
    lines = split(chunks, max_line)
    assert all(len(line) <= max_line for line in lines)
    assert b"".join(lines) == b"".join(chunks).replace(b"\n", b"")


@given(st.text(min_size=1).filter(lambda t: "\n" not in t), st.integers(8, 20))
def test_a_long_line_is_cut_between_characters(text, max_line):
    pieces = split([text.encode("utf-8", "replace")], max_line)
    assert "".join(piece.decode() for piece in pieces) == text.encode("utf-8", "replace").decode()


def test_a_partial_line_waits_for_its_end_but_not_for_ever():
    splitter = LineSplitter(8)
    assert splitter.feed(b"abc") == []
    assert splitter.feed(b"defghi") == [b"abcdefgh"]
    assert splitter.feed(b"j\n") == [b"ij"]
    assert splitter.flush() == []


@given(st.binary())
def test_printable_text_stays_on_its_line_and_only_colours(raw):
    text = printable(raw)
    assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]", without_colours(text))


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain\ttext", "plain\ttext"),
        (b"", ""),
        ("größe ✓".encode(), "größe ✓"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"windows\r", "windows"),
        (b"10%\r20%\r", "20%"),
        (b"\x1b[31mred", "\x1b[31mred\x1b[0m"),
        (b"\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        (b"\x1b[2J\x1b[Hcleared", "cleared"),
        (b"\x1b]0;title\x07rest", "rest"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bcreset", "reset"),
        (b"\x1b(Bset", "set"),
        (b"half \x1b", "half "),
        (b"half \x1b[3", "half "),
        (b"bell \x07 nul \x00", "bell \\x07 nul \\x00"),
        (b"c1 \xc2\x9b31m", "c1 \\x9b31m"),
    ],
)
def test_what_is_shown(raw, shown):
    assert printable(raw) == shown


class Collect:
    def __init__(self) -> None:
        self.lines: list[Line] = []

    def put(self, lines) -> None:
        self.lines += lines


def test_a_ring_keeps_the_last_lines_and_a_bounded_amount():
    source = LogHub(Logging(buffer=3)).source("s", 0)
    source.put([b"%d" % i for i in range(10)])
    assert [line.text for line in source.tail()] == ["7", "8", "9"]
    big = LogHub(Logging(buffer=1000)).source("s", 0)
    for _ in range(200):
        big.put([b"x" * 16_384])
    assert sum(len(line.text) for line in big.tail()) <= 1024 * 1024


def test_a_watcher_hears_of_the_first_match_even_in_colour():
    source = LogHub(Logging()).source("s", 0)
    with source.watch(re.compile(r"on \d+$")) as found:
        source.put([b"listening soon"])
        assert not found.is_set()
        source.put([b"no", b"\x1b[1mlistening on \x1b[32m80"])
        assert found.is_set()


def test_naqs_own_lines_have_a_level():
    hub, sink = LogHub(Logging(level="warning")), Collect()
    hub.attach(sink)
    hub.say("quiet")
    hub.say("one\ntwo", level="error")
    hub.detach(sink)
    hub.say("nobody hears", level="error")
    assert [(line.name, line.text, line.level) for line in sink.lines] == [
        ("naq", "one", "error"),
        ("naq", "two", "error"),
    ]
