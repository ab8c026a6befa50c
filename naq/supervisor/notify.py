"""What a supervised program uses: to say that it is ready or alive, to learn that it is alone.

All do nothing outside a supervisor, so a program can call them always. :func:`notify` speaks the
sd_notify protocol and works under systemd as well.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LEDGER_FD", "ledger", "lifeline_lost", "notify", "watchdog_pings"]

LIFELINE_FD = "NAQ_LIFELINE_FD"  # environment.py has the same name for the other side
LEDGER_FD = "NAQ_LEDGER_FD"  # this one too


def notify(state: str) -> bool:
    """Tell the supervisor something: ``READY=1``, ``STATUS=...``, ``STOPPING=1``, ``WATCHDOG=1``.

    Does not block: the datagram is dropped if the supervisor is that far behind.

    Args:
        state: one assignment per line.

    Returns:
        Whether there was somebody to tell.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # Linux' abstract namespace
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        try:
            sender.sendto(state.encode(), address)
        except OSError:
            return False
    return True


async def watchdog_pings() -> None:
    """Send ``WATCHDOG=1`` in time, for as long as this runs; return at once if nobody wants that.

    Run it as a task of the event loop that it is to vouch for: when the loop hangs, so does this,
    and the supervisor acts. ``WATCHDOG_USEC`` says how long it may be silent; half of that is the
    pause, as sd_watchdog_enabled(3) advises. On both of AnyIO's backends.
    """
    pause = _watchdog_pause()
    while pause is not None:
        notify("WATCHDOG=1")
        await anyio.sleep(pause)


def _watchdog_pause() -> float | None:
    """Return the seconds between two pings, None if there are to be none."""
    wanted, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or int(wanted) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(wanted) / 2_000_000


async def lifeline_lost() -> None:
    """Return when the supervisor is gone, however it went; never, if there is none.

    The descriptor comes by inheritance (``NAQ_LIFELINE_FD``) and is closed to programs started from
    here. On both of AnyIO's backends.
    """
    fd = _inherited(LIFELINE_FD, stat.S_ISFIFO)
    if fd is None:
        await anyio.sleep_forever()
        return
    os.set_inheritable(fd, False)
    # The pipe is shared with others, so it must not be read or made non-blocking; nothing is ever
    # written to it, and its only event is its end.
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while True:
        await anyio.wait_readable(fd)
        if poll.poll(0):
            return


def ledger() -> int | None:
    """Return the descriptor of the file for what this program has in hand; None if there is none.

    Whoever started the program keeps the same file (``NAQ_LEDGER_FD``). Once the program has ended
    without leaving the file empty, another one is started that reads it, and finds it here too.
    The descriptor is closed to programs started from here.
    """
    fd = _inherited(LEDGER_FD, stat.S_ISREG)
    if fd is not None:
        os.set_inheritable(fd, False)
    return fd


def _inherited(variable: str, is_such: Callable[[int], bool]) -> int | None:
    """Return a descriptor, if it is still the file that the variable speaks of.

    Args:
        variable: has its number and, after a colon, that of its inode.
        is_such: whether a mode is that of the right type of file.
    """
    number, _, inode = os.environ.get(variable, "").partition(":")
    try:
        fd = int(number)
        found = os.fstat(fd)
    except (ValueError, OSError):
        return None
    if not is_such(found.st_mode) or (inode and inode != str(found.st_ino)):
        return None
    return fd
