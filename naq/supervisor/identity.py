"""Who a program runs as: from ``user`` and ``group`` of a service to numbers and variables."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from naq.exceptions import SupervisorError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Identity", "identity"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the program is started with; None leaves it as it is.

    Attributes:
        uid: user.
        gid: group.
        groups: all groups.
        env: variables that follow from the user.
    """

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)


def identity(user: str | int | None, group: str | int | None) -> Identity:
    """Return the numbers of a user and a group, with the user's other groups.

    Raises:
        SupervisorError: there is no such user or group.
    """
    try:
        gid = grp.getgrnam(group).gr_gid if isinstance(group, str) else group
        if user is None:
            return Identity(gid=gid, groups=None if gid is None else (gid,))
        entry = pwd.getpwnam(user) if isinstance(user, str) else _by_number(user)
    except KeyError as exc:
        raise SupervisorError(f"no such account: {exc.args[0]}") from exc
    if entry is None:  # a number that has no name is as good as one that has
        own = int(user) if gid is None else gid
        return Identity(uid=int(user), gid=own, groups=(own,))
    gid = entry.pw_gid if gid is None else gid
    return Identity(
        uid=entry.pw_uid,
        gid=gid,
        groups=tuple(os.getgrouplist(entry.pw_name, gid)),
        env={"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name},
    )


def _by_number(user: int) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwuid(user)
    except KeyError:
        return None
