"""Lines as they are printed: plain, in colour, as JSON, and above the bar."""

from __future__ import annotations

import json
import re

import pytest

from naq.supervisor.output.lines import Line
from naq.supervisor.output.writer import choose_renderer, erase, wants_colour


def line(service="web", replica=1, text="hello", **more) -> Line:
    return Line(0.0, service, replica, text, **more)


def render(format_="auto", names=("web.2", "db"), env=None, *, terminal=False):
    return choose_renderer(format_, names, env or {}, terminal=terminal)


def test_plain_lines_have_the_bare_prefix():
    assert render()(line(text="\x1b[31mred\x1b[0m")) == "web.1 | red"
    assert render()(line("db", 0)) == "db | hello"


def test_on_a_terminal_the_prefix_is_coloured_and_aligned():
    shown = render(terminal=True)
    assert re.fullmatch(r"\x1b\[\d+mdb    \|\x1b\[0m hello", shown(line("db", 0)))
    assert re.fullmatch(r"\x1b\[\d+mweb.1 \|\x1b\[0m \x1b\[31mred", shown(line(text="\x1b[31mred")))
    assert shown(line("naq", 0, "down", level="error")) == "\x1b[31mnaq   | down\x1b[0m"


def test_a_service_has_the_same_colour_in_every_run_and_its_own():
    def colours(names):
        shown = render(names=names, terminal=True)
        return [shown(line(name, 0)).partition("m")[0] for name in names]

    assert colours(["web", "db"]) == colours(["web", "db"])
    assert len(set(colours([f"s{i}" for i in range(10)]))) == 10


@pytest.mark.parametrize(
    ("env", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
    ],
)
def test_when_there_is_colour(env, terminal, wanted):
    assert wants_colour(env, terminal=terminal) is wanted


def test_json():
    row = json.loads(render("json")(line(text="\x1b[31mgrün\x1b[0m")))
    assert row == {
        "time": "1970-01-01T00:00:00.000+00:00",
        "service": "web",
        "replica": 1,
        "message": "grün",
    }
    own = json.loads(render("json")(line("naq", 0, "x", level="warning")))
    assert own["level"] == "warning"


def test_erasing_counts_the_rows_that_a_narrower_terminal_made():
    assert erase([], 80) == ""
    assert erase(["a"], 80) == "\r\x1b[J"
    assert erase(["a", "b"], 80) == "\r\x1b[1A\x1b[J"
    assert erase(["\x1b[31m" + "x" * 50 + "\x1b[0m", "b"], 20) == "\r\x1b[3A\x1b[J"
