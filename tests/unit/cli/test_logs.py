"""naq's own loggers, whatever a user's module does to logging."""

from __future__ import annotations

import logging
import logging.config
import re
from pathlib import Path

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
