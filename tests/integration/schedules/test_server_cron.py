"""The server's cron and ours agree: hundreds of expressions, fired and compared.

The server says when a pattern is due next only in what it fires. So each expression is made to be
due in two seconds, whatever else it says, and fires; then what the server says comes next is
compared with what we do.
"""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from naq.schedules import cron as _cron

pytestmark = pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})])

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Chatham"]
NAMES = {
    "month": ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    "weekday": ["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
}
COUNT = 400


def field(chance, now, low, high, names=None):
    """A field that fits ``now``, among much else."""

    def name(value):
        return names[value - low] if names and chance.random() < 0.5 else str(value)

    shape = chance.randrange(6)
    if shape == 0:
        return "*"
    if shape == 1:
        return name(now)
    if shape == 2:
        others = {chance.randint(low, high) for _ in range(chance.randint(1, 4))}
        return ",".join(name(value) for value in sorted(others | {now}))
    if shape == 3:
        return f"{name(chance.randint(low, now))}-{name(chance.randint(now, high))}"
    step = chance.choice([s for s in (2, 3, 5, 7, 10, 15) if s <= high])
    start = low + (now - low) % step
    if shape == 4 and start == low:
        return f"*/{step}"
    return f"{start}-{high}/{step}"


def expression(chance, local):
    day = field(chance, local.day, 1, 31)
    weekday = field(chance, local.isoweekday() % 7, 0, 6, NAMES["weekday"])
    if chance.random() < 0.3:  # one of the two is enough
        day = str(chance.randint(1, 28))
    fields = [
        field(chance, local.second, 0, 59),
        field(chance, local.minute, 0, 59),
        field(chance, local.hour, 0, 23),
        day,
        field(chance, local.month, 1, 12, NAMES["month"]),
        weekday,
    ]
    return " ".join(fields)


def drawn(lead):
    """Expressions that are due so many seconds from now, and that moment."""
    chance = random.Random(7)
    moment = int(time.time()) + lead
    cases = {}
    while len(cases) < COUNT:
        zone = chance.choice(ZONES)
        text = expression(chance, datetime.fromtimestamp(moment, ZoneInfo(zone)))
        cron = _cron.parse(text)
        if cron.next(moment - 1, zone) == moment:
            cases[f"c{len(cases)}"] = (text, cron, zone)
    return cases, moment


async def test_the_servers_cron_and_ours_agree(queue, connection, eventually):
    names = connection.names
    lead = 3
    cases, moment = drawn(lead)
    while time.time() > moment - 1:  # a slow machine needs more time to draw them
        lead *= 2
        cases, moment = drawn(lead)

    def make(case):
        _, cron, zone = cases[case]
        headers = {"Nats-Schedule": cron.pattern, "Nats-Schedule-Target": names.job("cron", case)}
        if zone != "UTC":
            headers["Nats-Schedule-Time-Zone"] = zone
        return names.alarm(case), b"", headers

    answers = await connection.store_many(list(cases), make)
    assert not [answer for answer in answers if isinstance(answer, Exception)]
    found = {}

    async def all_fired():
        async for stored in connection.streams.all(names.jobs_stream, names.job("cron", "*")):
            case = stored.subject.rpartition(".")[2]
            # The first firing: dense ones have fired again by now.
            found.setdefault(case, (stored.time, stored.headers["Nats-Schedule-Next"]))
        return len(found) == COUNT

    await eventually(all_fired)
    await connection.streams.purge(names.jobs_stream, f"{names.prefix}.cs.>")
    different = []
    for case, (fired_at, told) in found.items():
        text, cron, zone = cases[case]
        theirs = datetime.fromisoformat(told).timestamp()
        ours = cron.next(int(fired_at.timestamp()), zone)
        if ours == cron.next_shifted(fired_at.timestamp(), zone):
            continue  # a wall time that does not exist, which the server leaves out
        if datetime.fromtimestamp(theirs, ZoneInfo(zone)).fold:
            continue  # one that exists twice, at which the server fires twice and we run once
        if ours != theirs:
            shown = [datetime.fromtimestamp(t, UTC).isoformat() for t in (ours, theirs)]
            different.append((text, zone, *shown))
    assert different == []
