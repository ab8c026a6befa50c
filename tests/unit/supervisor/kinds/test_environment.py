"""The environment of a service: files with variables, layers, interpolation."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.supervisor.kinds import environment
from naq.supervisor.kinds import environment as envfile
from naq.supervisor.kinds.environment import parse
from naq.supervisor.kinds.schema import Invalid


def build(*layers, base=None, **fields):
    return environment.build(base or {}, layers, fields)


def test_layers_see_what_is_below_and_above_them():
    env = build({"A": "${X}-1"}, {"B": "${A}-2", "C": "${B}"}, base={"X": "x"})
    assert env == {"X": "x", "A": "x-1", "B": "x-1-2", "C": "x-1-2"}


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${X}", "x"),
        ("${NO}", ""),
        ("${NO:-d}", "d"),
        ("${X:-d}", "x"),
        ("${EMPTY:-d}", "d"),
        ("${X:?m}", "x"),
        ("$$X $X $", "$X $X $"),
        ("$${X}", "${X}"),
        ("a${X}b${X}c", "axbxc"),
        ("{service}", "web"),
    ],
)
def test_interpolation(written, value):
    assert build({"V": written}, base={"X": "x", "EMPTY": ""}, service="web")["V"] == value


@pytest.mark.parametrize("written", ["${NO:?say why}", "${}", "${X", "${X+y}", "${1}"])
def test_what_cannot_be_interpolated(written):
    with pytest.raises(Invalid, match=r"^V: "):
        build({"V": written}, base={})


def test_a_value_from_outside_is_not_interpolated_again():
    assert build({"V": "${X}"}, base={"X": "${Y} {service}"}, service="s")["V"] == "${Y} {service}"


def test_none_unsets():
    assert build({"A": None, "B": None}, base={"A": "1"}) == {}


def test_what_was_meant_for_the_supervisor_is_not_inherited():
    kept = environment.inherited(
        {"HOME": "/", "NOTIFY_SOCKET": "x", "LISTEN_FDS": "1", "NAQ_LIFELINE_FD": "3"}
    )
    assert kept == {"HOME": "/", "PYTHONUNBUFFERED": "1"}


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
        ('A="never', "line 1: the quotation mark is never closed"),
        ("A=\0", "line 1: contains a NUL"),
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
