"""Who may look, and who may act.

Everybody has the same token, or a name that a reverse proxy vouches for. Browsers exchange the
token for a cookie signed with it, so that it stays out of the address bar; every form carries a
second secret, which other sites cannot know. Programs send the token itself and need neither.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from naq.base.local import kept_token

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["COOKIE", "SESSION", "Auth", "Visitor", "is_loopback", "may_act", "new_token"]

COOKIE = "naq_session"
SESSION = 7 * 86_400
"""Seconds that a login lasts."""
FREE_TRIES = 5
LONGEST_WAIT = 60.0
"""Seconds between two attempts of somebody who fails again and again."""
REMEMBERED = 1_000
"""Addresses whose failures are remembered."""


def new_token(run_dir: Path | None) -> str:
    """Return a token nobody can guess: that of the project, so that a restart logs nobody out.

    Args:
        run_dir: of the project; None if there is none, and the token is a new one.
    """
    if run_dir is not None:
        with suppress(OSError):
            return kept_token(run_dir / "dashboard.token")
    return secrets.token_urlsafe(32)


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    return host in {"localhost", "::1", "[::1]"} or host.startswith("127.")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who may look.

    Attributes:
        name: for the log.
        csrf: the secret that their forms must carry; None for none: a browser would not send these
            credentials by itself.
        shown: who they are, for people; None if everybody has the same token.
    """

    name: str
    csrf: str | None
    shown: str | None = None


@dataclass(slots=True)
class Auth:
    """Checks requests.

    Attributes:
        token: what programs send and people log in with.
        proxy_header: header in which a reverse proxy names the user it has authenticated. None
            trusts no header: whoever reaches the dashboard directly can send any.
    """

    token: str = field(repr=False)
    proxy_header: str | None = None
    _failures: dict[str, tuple[int, float]] = field(default_factory=dict)

    def visitor(self, headers: Mapping[str, str], cookies: Mapping[str, str]) -> Visitor | None:
        """Return who sent a request; None if they may not look."""
        kind, _, given = headers.get("Authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_token(given.strip()):
            return Visitor("token", None)
        if self.proxy_header and (name := headers.get(self.proxy_header, "")):
            return Visitor(name, self._sign(f"csrf:proxy:{name}"), name)
        session = cookies.get(COOKIE, "")
        if self._is_session(session):
            return Visitor("browser", self._sign(f"csrf:{session}"))
        return None

    def login(self, token: str, address: str) -> str | None:
        """Return the cookie for the right token; None for a wrong one, which is counted."""
        if self.wait(address) > 0 or not self._is_token(token):
            self._fail(address)
            return None
        self._failures.pop(address, None)
        expires = f"{int(time.time()) + SESSION}.{secrets.token_urlsafe(9)}"
        return f"{expires}.{self._sign(f'session:{expires}')}"

    def wait(self, address: str) -> float:
        """Return the seconds until somebody at ``address`` may try again."""
        count, last = self._failures.get(address, (0, 0.0))
        if count < FREE_TRIES:
            return 0.0
        pause = min(LONGEST_WAIT, 2.0 ** (count - FREE_TRIES))
        return max(0.0, last + pause - time.monotonic())

    def _fail(self, address: str) -> None:
        count, _ = self._failures.pop(address, (0, 0.0))
        if len(self._failures) >= REMEMBERED:
            self._failures.pop(next(iter(self._failures)))
        self._failures[address] = (count + 1, time.monotonic())

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _is_session(self, session: str) -> bool:
        expires, _, signature = session.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(f"session:{expires}").encode()):
            return False
        until = expires.partition(".")[0]
        return until.isdigit() and int(until) > time.time()

    def _sign(self, text: str) -> str:
        return hmac.new(self.token.encode(), text.encode(), hashlib.sha256).hexdigest()


def may_act(visitor: Visitor, given: str, headers: Mapping[str, str], host: str) -> bool:
    """Whether a request that changes something comes from a page of ours, or from a program.

    Args:
        visitor: who sent it.
        given: the ``csrf`` of the form.
        headers: of the request.
        host: host and port that the request was sent to.
    """
    if visitor.csrf is None:
        return True
    origin = headers.get("Origin", "")
    if origin and urlsplit(origin).netloc != host:
        return False
    return hmac.compare_digest(given.encode(), visitor.csrf.encode())
