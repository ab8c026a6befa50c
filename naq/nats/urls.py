"""Server urls as people write them: a list with a login in it, taken apart before it is used.

What is handed on, shown or logged from here on are addresses. The login is an option of the
connection: one that stood in a url would be unknown to the servers that a cluster tells of, and
would stand in every line about that url.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from naq.exceptions import ConfigurationError

__all__ = ["Login", "parse", "redact"]

SCHEMES = ("nats", "tls", "ws", "wss")
_HEAD = re.compile(r"\s*(?:\w+://)?")


class Login(NamedTuple):
    """What a url says of who connects: a token, or a user with a password."""

    token: str | None = None
    user: str | None = None
    password: str | None = None


def parse(text: str) -> tuple[str, Login | None]:
    """Return the addresses of a comma-separated list, and the login that stands in it.

    Percent-encoding in the login is undone. A login of one url goes for all of them.

    Raises:
        ConfigurationError: one is no url of a server, or they have different logins.
    """
    addresses: list[str] = []
    logins: list[Login] = []
    for one in filter(None, map(str.strip, text.split(","))):
        address, login = _parse_one(one, text)
        addresses.append(address)
        if login is not None and login not in logins:
            logins.append(login)
    if not addresses:
        raise ConfigurationError("the NATS URL is empty; write nats://host:4222")
    if len(logins) > 1:
        raise ConfigurationError(
            f"{', '.join(addresses)}: these urls have different logins, and the servers of one "
            "cluster are asked with one"
        )
    return ",".join(addresses), logins[0] if logins else None


def _parse_one(text: str, whole: str) -> tuple[str, Login | None]:
    """Return address and login of one url; ``whole`` is the list it stands in, for an error."""
    try:
        parts = urlsplit(text if "://" in text else f"nats://{text}")
        # An @ behind the host: a login with a character that must be percent-encoded.
        behind = "".join(parts[2:])
        good = parts.scheme in SCHEMES and parts.hostname and "@" not in behind
        _ = parts.port
    except ValueError:
        good = None
    if not good:
        raise ConfigurationError(
            f"{redact(whole)!r} is not a NATS URL; write nats://host:4222 or tls://host:4222, and "
            "in a login %2F for /, %40 for @, %2C for a comma"
        )
    login, at, place = parts.netloc.rpartition("@")
    if not at:
        return text, None
    address = urlunsplit(parts._replace(netloc=place))
    user, colon, password = login.partition(":")
    if not colon:
        return address, Login(token=unquote(user))
    return address, Login(user=unquote(user), password=unquote(password))


def redact(text: str) -> str:
    """Return a url, or a list of urls, without what may be a login; of whatever is no url, too."""
    before, at, after = text.rpartition("@")
    if not at:
        return text
    # A comma in a password that is not encoded looks like the next url: all before goes.
    head = _HEAD.match(before)
    return f"{head[0] if head else ''}{after}" if "," not in before else after
