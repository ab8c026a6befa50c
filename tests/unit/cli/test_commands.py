"""The table of commands."""

from __future__ import annotations

from importlib import import_module

import pytest

from naq.cli import COMMANDS


@pytest.mark.parametrize(
    ("name", "where", "text"),
    [pytest.param(*row, id=row[0]) for rows in COMMANDS.values() for row in rows],
)
def test_every_command_is_where_the_table_says(name, where, text):
    module, _, function = where.partition(":")
    assert callable(getattr(import_module(f"naq.cli.{module}"), function)), name
    assert text.endswith(".")
