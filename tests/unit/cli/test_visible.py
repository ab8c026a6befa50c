"""Nothing that others have stored is obeyed by a terminal or takes a line of its own."""

from __future__ import annotations

import json
import logging
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from naq.cli import logs, render, visible

EVIL = "a\x1b]52;c;b3duZWQ=\x07\x1b[2J\x9b31m\r\x7f\u202eb"
FORGED = "x\n12:00:00 ERROR   all is lost"


def obeyed(text: str, *, allowed: str = "") -> set[str]:
    """Return the characters of a text that a terminal does not just show."""
    return {
        c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") and c not in allowed
    } | (set(text) & set("\u202e\u202a\u2066\u200f"))


@given(st.text())
def test_whatever_it_is_only_what_is_shown_is_left(text):
    assert not obeyed(visible.inline(text))
    assert not obeyed(visible.block(text), allowed="\n\t")


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_document_means_the_same(text):
    shown = visible.document(json.dumps({"v": text}, ensure_ascii=False))

    assert json.loads(shown) == {"v": text}
    assert not obeyed(shown, allowed="\n\t")


@pytest.mark.parametrize("text", ["", "plain", "naïve 日本 🎉", "a b"])
def test_ordinary_text_stays_as_it_is(text):
    assert (visible.inline(text), visible.block(text)) == (text, text)


def test_a_row_stays_one_row(capsys):
    render.table(["A", "B"], [[EVIL, FORGED], ["2", "3"]])

    out = capsys.readouterr().out
    assert len(out.splitlines()) == 3
    assert not obeyed(out, allowed="\n")


def test_json_and_lines(capsys):
    render.print_json({"v": EVIL})
    render.say(EVIL)
    render.line(EVIL)

    out, err = capsys.readouterr()
    assert json.loads(out.splitlines()[0]) == {"v": EVIL}
    assert not obeyed(out + err, allowed="\n")


@pytest.mark.parametrize("style", ["text", "json"])
def test_a_log_record_cannot_be_forged(style):
    record = logging.LogRecord("x", logging.ERROR, "", 1, f"failed: {FORGED}{EVIL}", (), None)
    error = ValueError(FORGED + EVIL)
    record.exc_info = (ValueError, error, None)
    record.field = EVIL

    text = logs.formatter(style).format(record)

    first, *more = text.split("\n")
    assert not obeyed(text, allowed="\n")
    assert all(line.startswith("  ") for line in more)
    assert "failed: x" in first


@pytest.mark.parametrize("columns", [64, 80, 200])
def test_nothing_is_cut_in_a_table_on_a_terminal(monkeypatch, capsys, columns):
    """What other commands take stands on one line; the rest may go on below."""
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    job, error = "3e3b848e4cde5b3573c5e3f2", "Error:" + "x" * 90
    render.table(["ID", "QUEUE", "FUNCTION", "ERROR"], [[job, "mail", "shop.tasks:send", error]])

    out = capsys.readouterr().out
    assert job in out
    assert "mail" in out
    assert out.count("x") == 90
    assert "\u2026" not in out
