"""Every option of every command that takes a duration, found by looking at the commands."""

from __future__ import annotations

import typing

import cyclopts
import pytest

from naq.cli import COMMANDS, _app
from naq.cli.common import Duration

APP = _app()
TEXTS = {
    *("--at", "--end", "--next-run", "--start"),  # times
    *(
        "--cron",
        "--log-level",
        "--timezone",
        "--metrics",
        "--host",
        "--nats-url",
        "--proxy-header",
        "--token",
    ),
    *("--exit-on", "--id", "--instance-id", "--job-id", "--name", "--profile", "--queue"),
    *("--allow", "--env-file", "--import", "--kwarg", "--scale", "--set"),  # several
}
"""Options with a text that is not a duration."""


def options():
    for commands in COMMANDS.values():
        for command, _, _ in commands:
            for argument in APP[command].assemble_argument_collection():
                kinds = {argument.hint, *typing.get_args(argument.hint)}
                if argument.name.startswith("--") and kinds & {str, Duration}:
                    yield command, argument, Duration in kinds


TAKEN = [(command, argument) for command, argument, is_duration in options() if is_duration]
NEEDED = {
    "enqueue": ["m:f"],
    "schedule": ["m:f"],
    "job-control": ["id", "pause"],
    "start": ["web"],
    "scale": ["web=1"],
}


def read(command, argument, text):
    words = [command, *NEEDED.get(command, ()), argument.name, text]
    _, bound, _ = APP.parse_args(words, print_error=False, exit_on_error=False)
    return bound.arguments[argument.field_info.name]


def test_an_option_with_a_text_is_known_for_a_duration_or_something_else():
    others = {argument.name for _, argument, is_duration in options() if not is_duration}
    assert others == TEXTS
    assert len(TAKEN) > 10


@pytest.mark.parametrize(
    ("command", "argument"), [pytest.param(*row, id=f"{row[0]} {row[1].name}") for row in TAKEN]
)
def test_a_duration_is_read_by_one_grammar(command, argument):
    for text, seconds in (
        ("0", 0.0),
        ("0.25", 0.25),
        ("250ms", 0.25),
        ("1h30m", 5400.0),
        ("1w2d", 777_600.0),
    ):
        assert read(command, argument, text) == seconds
    for text in ("nan", "inf", "1e18", "9999999999d", "soon", "-5"):
        with pytest.raises(cyclopts.CycloptsError) as caught:
            read(command, argument, text)
        assert argument.name in str(caught.value)


def test_what_cannot_be_read_is_one_line_and_nothing_is_done(capsys):
    from naq.cli import main

    with pytest.raises(SystemExit, match="2"):
        main(["enqueue", "examples.tasks:add", "--in", "nan"])
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "naq: Invalid value for --in: 'nan' is not a duration: write 250ms, 10s, 5m, 1h30m or 90\n"
    )
