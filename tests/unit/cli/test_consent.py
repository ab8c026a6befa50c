"""Every command that destroys asks, every list has a limit; found by looking at the commands."""

from __future__ import annotations

import inspect
import io
import re
from importlib import import_module

import pytest

from naq.base.exits import Exit
from naq.cli import COMMANDS, _app, main, render
from naq.cli.consent import given, require
from naq.exceptions import ConfigurationError

APP = _app()
FUNCTIONS = {
    name: getattr(import_module(f"naq.cli.{where.partition(':')[0]}"), where.partition(":")[2])
    for commands in COMMANDS.values()
    for name, where, _ in commands
}
DESTROYS = re.compile(r"\b(remove|removes|delete|deletes|purge|destroy|wipe)\b", re.IGNORECASE)
NAMES_EACH = {"cancel", "job-control"}
"""These do away with one thing, by its id."""
WORDS = {"purge": ["mail"], "delete-queue": ["mail"], "delete-failed": ["--all"]}
LISTS = sorted(name for name in FUNCTIONS if name.startswith("list-"))


def destroying():
    """Yield the commands whose own words say that they destroy something."""
    for commands in COMMANDS.values():
        for name, _, text in commands:
            summary = inspect.getdoc(FUNCTIONS[name]).partition("\n\n")[0]
            if DESTROYS.search(text) or DESTROYS.search(summary) or DESTROYS.search(name):
                yield name


def options(command):
    return {argument.name for argument in APP[command].assemble_argument_collection()}


def test_those_that_destroy_are_known_and_have_yes():
    found = set(destroying()) - NAMES_EACH
    assert found == set(WORDS)
    assert found == {name for name in FUNCTIONS if "--yes" in options(name)}


@pytest.mark.parametrize("command", WORDS)
def test_without_a_terminal_they_refuse_before_anything_is_asked_of_the_server(
    command, capsys, monkeypatch
):
    monkeypatch.setenv("NAQ_NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))

    with pytest.raises(SystemExit) as ended:
        main([command, *WORDS[command]])

    assert ended.value.code == Exit.USAGE
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert "--yes" in line


@pytest.mark.parametrize(
    ("typed", "answer"),
    [("y\n", True), ("YES\n", True), ("n\n", False), ("\n", False), ("", False), ("yep\n", False)],
)
def test_only_yes_is_yes(typed, answer, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))

    assert given(False, "Delete 3 jobs?") is answer
    assert "Delete 3 jobs? [y/N]" in capsys.readouterr().err


def test_yes_is_an_answer_in_advance(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO(""))

    require(True, "removes everything")
    assert given(True, "Remove everything?")
    with pytest.raises(ConfigurationError, match="this removes everything"):
        require(False, "removes everything")


@pytest.mark.parametrize("command", LISTS)
def test_the_limit_of_every_list_is_checked(command, capsys):
    assert len(LISTS) >= 4
    assert {"--limit", "--json"} <= options(command)
    for text in ("0", "-1", "x", "1.5", "nan", "", "10000000", "٣"):
        with pytest.raises(SystemExit) as ended:
            main([command, f"--limit={text}"])
        assert ended.value.code == Exit.USAGE
        assert "--limit" in capsys.readouterr().err


def test_a_list_that_is_cut_says_so(capsys):
    render.cut(10, 10, "queues")
    assert capsys.readouterr().err == ""
    render.cut(10, 12, "queues")
    assert capsys.readouterr().err == "naq: 10 of 12 queues are shown; --limit 12 shows all\n"
