"""The keys of a supervisor file, one line each: reading, defaults and schema are made from them.

:data:`SERVICE` are the keys every service has; a kind adds its own (``Kind.keys``).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from naq.supervisor.config.subtables import DEPENDS_ON, LIVE, READY, RESTART, ROLLING, WATCHDOG
from naq.supervisor.kinds.environment import ENV_VALUE
from naq.supervisor.kinds.schema import (
    Apply,
    Choice,
    EachKey,
    Either,
    Invalid,
    ListOf,
    Scalar,
    Spread,
    Table,
)
from naq.supervisor.kinds.values import (
    ADDRESS,
    BOOLEAN,
    COMMAND,
    COUNT,
    DURATION,
    EXIT_CODES,
    GROUP,
    PORT,
    POSITIVE_DURATION,
    SIGNAL,
    SIZE,
    TEXT,
    UMASK,
    USER,
    key,
    live,
    ratio,
    whole,
)
from naq.supervisor.model.spec import ExitPolicy, Limits, LogFile, Logging, Rotation, Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from naq.supervisor.kinds.schema import Key

__all__ = ["CONTROL", "HOOKS", "HOOK_NAMES", "LOGGING", "PROJECT", "SERVICE"]

_ENV = EachKey(ENV_VALUE, build=MappingProxyType)
_RUN = Choice(*(run.value for run in Run), into=Run)


def _between(low: int, high: int) -> Scalar:
    return Scalar(whole(low, high), {"type": "integer", "minimum": low, "maximum": high})


_LIMITS = Table(
    {
        "max_memory": live(SIZE, None, "resident memory of it and its children; then a restart"),
        "max_age": live(POSITIVE_DURATION, None, "then a restart"),
        "max_age_jitter": live(ratio(0, 1), 0.1, "share of it that replicas differ by"),
        "nofile": key(_between(1, 2**31 - 1), None, "open files"),
        "nice": key(_between(-20, 19), None, "priority"),
    },
    build=Limits,
)
_ROTATE_TABLE = Table(
    {
        "max_size": live(SIZE, 50 * 2**20, "size at which a file is rotated"),
        "keep": live(COUNT, 5, "how many old files are kept"),
        "max_age": live(POSITIVE_DURATION, None, "older ones are removed"),
        "compress": live(BOOLEAN, True, "gzip them"),
    },
    build=Rotation,
)
_ROTATE = Either(_ROTATE_TABLE, lambda value: {"max_size": value}, SIZE.schema, optional=True)
_LOG_FILE = Table(
    {
        "file": live(TEXT, None, "another place for its lines, relative to the supervisor file"),
        "rotate": live(_ROTATE, None, "when that is rotated; default: as the project says"),
    },
    build=LogFile,
)
_STOP = Spread(
    Table(
        {
            "signal": live(SIGNAL, None, "stop_signal"),
            "timeout": live(DURATION, None, "stop_timeout"),
            "pre": live(COMMAND, None, "stop_pre"),
        }
    ),
    lambda value: {"timeout": value},
    DURATION.schema,
)

SERVICE: Mapping[str, Key] = {
    "type": key(TEXT, "command", "kind of service"),
    "run": key(_RUN, None, "a process of its own, or a task in the supervisor"),
    "replicas": key(COUNT, 1, "how many of it run", Apply.SCALE),
    "depends_on": key(DEPENDS_ON, (), "what must be ready first", Apply.GRAPH),
    "restart": live(RESTART, None, "when to start it again"),
    "env": key(_ENV, MappingProxyType({}), "environment variables; false unsets one"),
    "env_file": key(ListOf(TEXT), (), "files with variables; a ? in front: may be missing"),
    "stdin": key(TEXT, "null", "a file it reads on standard input; null: nothing"),
    "cwd": key(TEXT, ".", "directory to run in, relative to the file"),
    "port": key(PORT, None, "of the first replica; {port} in texts"),
    "user": key(USER, None, "the user it runs as; only for root"),
    "group": key(GROUP, None, "the group it runs as; default: the user's"),
    "umask": key(UMASK, None, "mode bits its new files do not get"),
    "stop": live(_STOP, None, "stop_signal, stop_timeout and stop_pre as one table"),
    "stop_signal": live(SIGNAL, 15, "how to ask it to stop"),
    "stop_timeout": live(DURATION, 10.0, "how long it may take to stop before it is killed"),
    "stop_pre": live(COMMAND, (), "command to run before it is asked to stop"),
    "start_timeout": live(POSITIVE_DURATION, 60.0, "from its start to READY"),
    "start_delay": live(DURATION, 0.0, "between the starts of two replicas"),
    "kill_group": key(BOOLEAN, True, "stop and kill everything it started, not it alone"),
    "critical": live(BOOLEAN, False, "if it fails for good, the project stops with its exit code"),
    "success_exit_codes": live(EXIT_CODES, (0,), "exit codes that are no failure"),
    "fatal_exit_codes": live(EXIT_CODES, (78,), "exit codes after which a restart is pointless"),
    "oneshot": key(BOOLEAN, False, "runs once, to its end"),
    "rerun": live(BOOLEAN, False, "if it has completed, a restart of its group runs it again"),
    "disabled": live(BOOLEAN, False, "not started until asked for"),
    "profiles": live(ListOf(TEXT), (), "profiles it belongs to; default: all"),
    "ready": live(READY, None, "how to tell that it is ready"),
    "live": live(LIVE, None, "how to tell that it is alive; if not, it is restarted"),
    "watchdog": key(WATCHDOG, None, "how long it may be silent"),
    "limits": key(_LIMITS, None, "what it may use"),
    "rolling": live(ROLLING, None, "how replicas are replaced"),
    "logging": live(_LOG_FILE, None, "where else its lines go"),
}

PROJECT = Table(
    {
        "name": key(TEXT, None, "name of the project; default: the directory's"),
        "profiles": live(ListOf(TEXT, at_least=1), ("default",), "those that are active"),
        "shutdown_timeout": live(POSITIVE_DURATION, 60.0, "to stop everything"),
        "exit_policy": live(
            Choice(*(policy.value for policy in ExitPolicy), into=ExitPolicy),
            ExitPolicy.WHEN_ALL_DONE,
            "end when nothing is left to run, or never",
        ),
        "env": key(_ENV, MappingProxyType({}), "environment variables of all services"),
        "env_file": key(ListOf(TEXT), (), "files with variables; a ? in front: may be missing"),
    }
)


def _not_yet(value: object) -> bool:
    """Allow the only value so far."""
    if value is False:
        return False
    raise Invalid("control over NATS does not exist yet; take the key out or set it to false")


CONTROL = Table(
    {
        "socket": key(TEXT, "auto", "path of the control socket"),
        "metrics": key(ADDRESS, None, "host:port where Prometheus may collect; default: nowhere"),
        "nats": key(Scalar(_not_yet, {"const": False}), False, "reserved"),
    }
)

LOGGING = Table(
    {
        "format": live(Choice("auto", "text", "json"), "auto", "of lines on standard output"),
        "level": live(Choice("debug", "info", "warning", "error"), "info", "of naq's own lines"),
        "on_slow_sink": live(Choice("drop"), "drop", "what to do with lines without room"),
        "buffer": live(_between(0, 1_000_000), 2000, "lines kept per replica"),
        "max_line": live(SIZE, 16 * 1024, "longer lines are cut"),
        "dir": live(TEXT, None, "directory with a file per replica"),
        "rotate": live(_ROTATE_TABLE, None, "when such files are rotated"),
    },
    build=Logging,
)

#: When a hook may run: when a replica has reached a state, or the project is ready.
HOOK_NAMES = (
    "on_ready",
    "on_unready",
    "on_exited",
    "on_crashloop",
    "on_completed",
    "on_failed",
    "on_skipped",
    "on_stopped",
    "on_all_ready",
)
HOOKS = Table({name: live(COMMAND, None, f"command to run: {name}") for name in HOOK_NAMES})
