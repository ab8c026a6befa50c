"""What the server has fired of a schedule, in a worker's hands: it makes a job of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from naq._advance import Advance
from naq._pull import stored_at
from naq._records import revision
from naq.exceptions import SerializationError

if TYPE_CHECKING:
    from naq._decide import Delivery
    from naq.connection import Connection, Message
    from naq.serializers import Codec

__all__ = ["Firing"]

log = logging.getLogger("naq.worker")

AGAIN = b'-NAK {"delay": 1000000000}'
"""Have it delivered again in a second."""


class Firing:
    """Takes firings; that needs no slot."""

    def __init__(
        self, connection: Connection, codec: Codec, conclusions: set[anyio.CancelScope]
    ) -> None:
        """Prepare to take firings.

        Args:
            connection: where they come from.
            codec: what may be decoded here.
            conclusions: scopes of what a worker that is cancelled still does.
        """
        self._connection = connection
        self._advance = Advance(connection, codec)
        self._conclusions = conclusions

    async def take(self, schedule_id: str, message: Message, delivery: Delivery) -> None:
        """Make a job of a firing and settle it; an error in here concerns this schedule alone."""
        reply = message.reply
        with anyio.CancelScope(shield=True) as scope:
            self._conclusions.add(scope)
            try:
                await self._advance.fire(
                    schedule_id,
                    stored_at(reply),
                    revision(message.headers),
                    again=delivery.delivered > 1,
                )
            except SerializationError as exc:
                log.error("schedule %s: its definition cannot be read: %s", schedule_id, exc)  # noqa: TRY400
                self._connection.ack(reply)
            except Exception as exc:
                log.warning("schedule %s: will be tried again", schedule_id, exc_info=exc)
                self._connection.ack(reply, AGAIN)
            else:
                self._connection.ack(reply)
            finally:
                self._conclusions.discard(scope)
