"""naq's own loggers, whatever a user's module does to logging."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import re
import time
from pathlib import Path

import pytest
import structlog

import naq.cli
from naq.cli import logs

CODE = Path(naq.cli.__file__).parents[1]


def test_every_logger_of_naqs_is_known():
    used = {
        name
        for file in CODE.rglob("*.py")
        for name in re.findall(r'getLogger\("naq\.(\w+)"\)', file.read_text())
    }

    assert used == set(logs.LOGGERS)


def test_they_cannot_be_disabled_and_obey_everything_else():
    logs._keep_enabled()
    ours, theirs = logging.getLogger("naq.worker"), logging.getLogger("theirs")
    try:
        logging.config.dictConfig({"version": 1, "loggers": {"naq.connection": {"level": "ERROR"}}})

        assert theirs.disabled
        assert not ours.disabled
        assert ours.isEnabledFor(logging.ERROR)
        assert not logging.getLogger("naq.connection").isEnabledFor(logging.WARNING)
    finally:
        logging.getLogger("naq.connection").setLevel(logging.NOTSET)
        for logger in logging.Logger.manager.loggerDict.values():
            if isinstance(logger, logging.Logger):
                logger.disabled = False


@pytest.fixture
def logged(monkeypatch):
    """``logged(style)``: the stream on which the loggers "shop" of both libraries write."""
    monkeypatch.setattr(structlog, "is_configured", lambda: False)
    before = structlog.get_config()
    logger = logging.getLogger("shop")
    logger.propagate = False
    logger.setLevel(logging.INFO)

    def start(style):
        logs._configure_structlog(structlog)
        stream = io.StringIO()
        handler = logging.StreamHandler(stream)
        handler.setFormatter(logs.formatter(style))
        logger.handlers[:] = [handler]
        return stream

    yield start
    logger.handlers[:] = []
    logger.propagate = True
    structlog.configure(**before)


def _raised():
    with pytest.raises(ValueError, match="luck") as raised:
        raise ValueError("no luck")
    return raised.value


LOGGED = {
    "a message with arguments": (
        lambda theirs: theirs.info("%s of %d", "one", 2),
        {"event": "one of 2", "level": "info"},
    ),
    "an exception that is given": (
        lambda theirs: theirs.error("went wrong", exc_info=_raised()),
        {"event": "went wrong", "level": "error", "exception": r"Traceback[^\0]*no luck$"},
    ),
    "an exception as a tuple": (
        lambda theirs: theirs.error(
            "went wrong", exc_info=(ValueError, ValueError("no luck"), None)
        ),
        {"event": "went wrong", "exception": r"^ValueError: no luck$"},
    ),
    "an exception where there is none": (
        lambda theirs: theirs.error("went wrong", exc_info=True),
        {"event": "went wrong", "exception": None},
    ),
    "where it was logged": (
        lambda theirs: theirs.warning("here", stack_info=True),
        {"event": "here", "level": "warning", r"stack|stack_info": r"test_logs\.py"},
    ),
}


@pytest.mark.parametrize("case", LOGGED)
@pytest.mark.parametrize("library", ["logging", "structlog"])
def test_both_libraries_are_written_alike(logged, library, case):
    log, wanted = LOGGED[case]
    theirs = logging.getLogger("shop") if library == "logging" else structlog.get_logger("shop")

    stream = logged("json")
    with structlog.contextvars.bound_contextvars(request="r1", event="another"):
        log(theirs)
    (event,) = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert (event["logger"], event["request"]) == ("shop", "r1")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", event["timestamp"])
    assert not event.keys() & {"exc_info", "_record", "_logger"}
    for names, text in wanted.items():
        found = [event[name] for name in names.split("|") if name in event]
        assert bool(found) is (text is not None)
        assert all(re.search(text, one) for one in found)

    text = logged("text")
    log(theirs)
    first, *more = text.getvalue().splitlines()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3} [A-Z]+ ", first)
    assert any("no luck" in line for line in more) is bool(wanted.get("exception"))


def test_text_has_the_local_time_and_json_the_worlds(monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        record = logging.makeLogRecord({"msg": "x", "created": 1_700_000_000.25})
        assert logs.formatter("text").format(record).startswith("17:13:20.250 ")
        assert "2023-11-14T22:13:20.25" in logs.formatter("json").format(record)
    finally:
        monkeypatch.undo()
        time.tzset()
