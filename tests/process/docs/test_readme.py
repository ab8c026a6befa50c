"""Whoever follows the README in an empty directory sees what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from snippets import Command, File, Terminal, steps

pytestmark = pytest.mark.process
README = Path(__file__).parents[3] / "README.md"


@pytest.mark.time_limit(240)  # some thirty commands
def test_the_readme_can_be_followed(tmp_path):
    followed = steps(README.read_text())
    assert followed
    terminal = Terminal(tmp_path)
    try:
        for step in followed:
            if isinstance(step, File):
                (tmp_path / step.name).write_text(step.text)
                continue
            code, shown = terminal.type(step.text)
            assert code == 0, f"$ {step.text}\n{shown}"
            if step.output:
                assert shown == step.output, f"$ {step.text}"
    finally:
        terminal.type("naq down")
        terminal.close()


def test_which_steps_a_page_has():
    page = """
```toml
[services.not_a_whole_file]
```
```python
# file: a.py
print(1)
```
<!-- not run: takes hours -->
```console
$ sleep 10000
```
```console
$ python a.py    # prints a number
1
$ true
```
<!-- not run: takes weeks -->
```console
$ sleep 1000000
```
"""
    assert steps(page) == [
        File("a.py", "print(1)\n"),
        Command("python a.py    # prints a number", "1\n"),
        Command("true", ""),
    ]


def test_what_is_not_run_says_why():
    for reason in re.findall(r"<!-- not run:?(.*?)-->", README.read_text()):
        assert reason.strip()


def test_commands_share_a_terminal(tmp_path):
    terminal = Terminal(tmp_path)
    assert terminal.type("cd / && X=1; pwd; echo wrong >&2; false") == (1, "/\nwrong\n")
    assert terminal.type("echo $PWD $X  # a comment") == (0, "/ 1\n")
    terminal.close()
