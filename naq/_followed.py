"""Messages of a stream that are looked at again and again, read only as far as they have changed.

Only what was stored since the last look is read, and the server's count tells whether some are
gone, for which all are read again: thousands at rest cost three small requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from naq.connection import Connection, Stored

__all__ = ["Followed"]

T = TypeVar("T")


class Followed(Generic[T]):
    """What the messages of a filter say, of a stream that keeps one per subject."""

    def __init__(
        self, connection: Connection, stream: str, filter_subject: str, of: Callable[[Stored], T]
    ) -> None:
        """Follow messages.

        Args:
            connection: to the server.
            stream: which holds them, with one message per subject.
            filter_subject: of those that are looked at.
            of: returns what is to be known of one.
        """
        self._connection = connection
        self._stream = stream
        self._filter = filter_subject
        self._of = of
        self._created = ""
        self._forget()

    def _forget(self) -> None:
        self._known: dict[str, T] = {}
        self._after = 0

    async def look(self) -> Collection[T]:
        """Return what is known of all that are there now, in no order.

        Raises:
            NaqConnectionError: the server cannot be reached.
            ServerRefusedError: there is no such stream.
        """
        created = (await self._connection.api(f"STREAM.INFO.{self._stream}"))["created"]
        if created != self._created:  # another stream, whose sequences begin anew
            self._forget()
            self._created = created
        await self._read()
        _, total = await self._connection.first(self._stream, self._filter)
        if len(self._known) > total:
            self._forget()
            await self._read()
        return self._known.values()

    async def _read(self) -> None:
        while page := await self._connection.page(self._stream, self._filter, after=self._after):
            for stored in page:
                self._known[stored.subject] = self._of(stored)
            self._after = page[-1].seq
