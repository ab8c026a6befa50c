"""Exit codes: the documentation lists the ones there are."""

from __future__ import annotations

import re
from pathlib import Path

from naq.base.exits import Exit

DOCS = Path(__file__).parents[3] / "docs"


def codes(page: str, heading: str) -> list[int]:
    _, _, after = (DOCS / page).read_text("utf-8").partition(heading)
    table = re.match(r"(?s).*?((?:^\|.*\n)+)", after, re.MULTILINE)
    return [int(code) for code in re.findall(r"^\| (\d+) \|", table[1], re.MULTILINE)]


def test_the_command_line_page_lists_all_of_them_in_order():
    assert codes("cli.md", "## Exit codes") == [*Exit]


def test_the_supervisor_page_lists_those_of_up():
    listed = codes("supervisor.md", "## Stopping")
    assert set(listed) <= {*Exit}
    assert sorted(listed) == listed
