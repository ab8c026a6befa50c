"""How the tables of a supervisor file are described: their keys, and what each may hold.

A table is a mapping of names to :class:`Key`. Everything that has to know the keys reads that
mapping and nothing else: the reader (types, unknown keys, defaults), the merge of ``[defaults]``
into a service, the JSON Schema for editors, and the smallest change a reload may make. So a key is
added in one line, and nothing can forget it.

Reading has two halves. :meth:`Type.parse` checks what is written and gives plain values; a table
becomes a :class:`Partial` with the keys that are there. Partials are merged (:func:`merge`), and
only then :meth:`Type.finish` adds the defaults and builds the value, so that a default never hides
what a lower layer says.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = [
    "Apply",
    "Choice",
    "EachKey",
    "Either",
    "Invalid",
    "Key",
    "ListOf",
    "Partial",
    "Scalar",
    "Spread",
    "Table",
    "Type",
    "Where",
    "describe",
    "did_you_mean",
    "merge",
]


class Apply(StrEnum):
    """What a reload has to do when a key's value changed."""

    LIVE = "live"  # taken over at once, nothing restarts
    SCALE = "scale"  # replicas come or go
    RESTART = "restart"  # the service stops gracefully and starts again
    GRAPH = "graph"  # counts from the next start on


class Invalid(ValueError):  # noqa: N818 - a verdict about a value, caught one call up
    """What is written cannot be used; the text says what is expected."""


class Partial(dict[str, Any]):
    """The keys of a table that are written down, parsed but not yet completed by defaults."""


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file, and the list that problems found there go to.

    Attributes:
        short: a short form is written here; what it stands for has no places of its own.
    """

    file: str
    problems: list[str]
    path: tuple[str, ...] = ()
    short: bool = False

    def at(self, key: str) -> Where:
        """Return the place of ``key`` in the table at this place."""
        if self.short:
            return self
        return Where(self.file, self.problems, (*self.path, key))

    def report(self, message: str) -> None:
        """Add a problem found here."""
        place = ".".join(part if _BARE.fullmatch(part) else f'"{part}"' for part in self.path)
        self.problems.append(
            f"{self.file}: {place}: {message}" if place else f"{self.file}: {message}"
        )


# What TOML allows without quotes, so that a problem names the key as the file does.
_BARE = re.compile(r"[A-Za-z0-9_-]+(\[\d+\])?")


class Type(ABC):
    """What a key may hold.

    Attributes:
        schema: the same as a JSON Schema fragment.
        is_table: it has keys of its own, and so a value even where nothing is written.
        keys: these keys, of a table.
    """

    schema: Mapping[str, Any]
    is_table: bool = False
    keys: Mapping[str, Key] | None = None

    @abstractmethod
    def parse(self, value: object, where: Where) -> Any:
        """Check ``value`` and return it in the program's terms.

        Raises:
            Invalid: it cannot be used at all. Problems inside a table are reported to ``where``
                one by one instead, and what remains is returned.
        """

    def finish(self, value: Any) -> Any:
        """Complete a merged value; most are complete already."""
        return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a table.

    Attributes:
        type: what it may hold.
        default: its value where nothing is written; a table without one is completed from {}.
        apply: what a change of it means to a running service.
        doc: one line for the schema and the guide.
    """

    type: Type
    doc: str
    default: Any = None
    apply: Apply = Apply.RESTART

    def complete(self, partial: Mapping[str, Any], name: str) -> Any:
        """Return the finished value of this key in ``partial``, or its default."""
        if name in partial:
            return self.type.finish(partial[name])
        if self.default is None and self.type.is_table:
            return self.type.finish(Partial())
        return self.default


class Scalar(Type):
    """A single value, made by a function that raises :class:`Invalid`."""

    def __init__(self, convert: Callable[[object], Any], schema: Mapping[str, Any]) -> None:
        self._convert = convert
        self.schema = schema

    def parse(self, value: object, where: Where) -> Any:  # noqa: ARG002
        """Return the value, converted."""
        return self._convert(value)


class Choice(Type):
    """One of a few words."""

    def __init__(self, *words: str, into: Callable[[str], Any] = str) -> None:
        self._words = words
        self._into = into
        self.schema = {"enum": list(words)}

    def parse(self, value: object, where: Where) -> Any:  # noqa: ARG002
        """Return what the word stands for."""
        if isinstance(value, str) and value in self._words:
            return self._into(value)
        expected = " | ".join(self._words)
        raise Invalid(f"{value!r} is not one of {expected}{did_you_mean(value, self._words)}")


class ListOf(Type):
    """A list; every element that is wrong is reported with its index."""

    def __init__(self, item: Type, *, at_least: int = 0) -> None:
        self._item = item
        self._at_least = at_least
        self.schema = {"type": "array", "items": item.schema, "minItems": at_least}

    def parse(self, value: object, where: Where) -> tuple[Any, ...]:
        """Return the values, each read by the type of the items."""
        if not isinstance(value, list):
            raise Invalid(f"expected a list, got {describe(value)}")
        if len(value) < self._at_least:
            raise Invalid("expected a non-empty list")
        *head, name = where.path
        parsed = []
        for index, item in enumerate(value):
            place = Where(where.file, where.problems, (*head, f"{name}[{index}]"))
            try:
                parsed.append(self._item.parse(item, place))
            except Invalid as exc:
                place.report(str(exc))
        return tuple(parsed)


class EachKey(Type):
    """A table whose keys are the writer's own names and whose values are of one type."""

    def __init__(self, item: Type, *, build: Callable[[Partial], Any] = dict) -> None:
        self._item = item
        self._build = build
        self.schema = {"type": "object", "additionalProperties": item.schema}

    def parse(self, value: object, where: Where) -> Partial:
        """Return the table with every value read."""
        partial = Partial()
        for name, item in _table(value).items():
            try:
                partial[name] = self._item.parse(item, where.at(name))
            except Invalid as exc:
                where.at(name).report(str(exc))
        return partial

    def finish(self, value: Any) -> Any:
        """Return the table with every value complete."""
        return self._build(Partial({name: self._item.finish(item) for name, item in value.items()}))


class Either(Type):
    """A table, or a short form of it, which ``short`` turns into the table that it stands for."""

    def __init__(
        self,
        full: Type,
        short: Callable[[object], object],
        schema: Mapping[str, Any],
        *,
        optional: bool = False,
    ) -> None:
        self._full = full
        self._short = short
        self.schema = {"anyOf": [full.schema, schema]}
        self.is_table = full.is_table and not optional
        self.keys = full.keys

    def parse(self, value: object, where: Where) -> Any:
        """Return the value, written short or long."""
        if isinstance(value, Mapping):
            return self._full.parse(value, where)
        return self._full.parse(self._short(value), replace(where, short=True))

    def finish(self, value: Any) -> Any:
        """Return the value with the long form's defaults."""
        return self._full.finish(value)


class Spread(Either):
    """A table that is another way to write keys of the table it is in.

    ``stop = { timeout = "5s" }`` is ``stop_timeout = "5s"``; it has no value of its own.
    """


class Table(Type):
    """A table with known keys. Unknown ones are problems, except those that begin with ``x-``."""

    is_table = True
    keys: Mapping[str, Key]

    def __init__(self, keys: Mapping[str, Key], *, build: Callable[..., Any] = dict) -> None:
        self.keys = keys
        self._build = build
        self.schema = {
            "type": "object",
            "properties": {
                name: {**key.type.schema, "description": key.doc} for name, key in keys.items()
            },
            "patternProperties": {"^x-": {}},
            "additionalProperties": False,
        }

    def parse(self, value: object, where: Where) -> Partial:
        """Return what the table says, each key read by its own type; report all problems."""
        partial = Partial()
        for name, item in _table(value).items():
            key = self.keys.get(name)
            if name.startswith("x-"):
                continue
            if key is None:
                where.at(name).report(f"unknown key{did_you_mean(name, self.keys)}")
                continue
            try:
                parsed = key.type.parse(item, where.at(name))
            except Invalid as exc:
                where.at(name).report(str(exc))
                continue
            if isinstance(key.type, Spread):
                _spread(partial, parsed, f"{name}_", where.at(name))
            elif name in partial:
                where.at(name).report("is written twice, here and in a table")
            else:
                partial[name] = parsed
        return partial

    def finish(self, value: Any) -> Any:
        """Build the value from the written keys and the defaults of the others."""
        own = {name: key for name, key in self.keys.items() if not isinstance(key.type, Spread)}
        return self._build(**{name: key.complete(value, name) for name, key in own.items()})


def _spread(partial: Partial, parsed: Mapping[str, Any], prefix: str, where: Where) -> None:
    """Put the keys of a :class:`Spread` where they belong."""
    for key, value in parsed.items():
        if f"{prefix}{key}" in partial:
            where.at(key).report(f"is written twice, here and as {prefix}{key}")
        else:
            partial[f"{prefix}{key}"] = value


def merge(layers: Sequence[Mapping[str, Any]]) -> Partial:
    """Lay tables over each other, the last one on top: tables merge by key, others replace."""
    merged = Partial()
    for layer in layers:
        for name, value in layer.items():
            below = merged.get(name)
            if isinstance(below, Partial) and isinstance(value, Partial):
                merged[name] = merge([below, value])
            else:
                merged[name] = value
    return merged


def describe(value: object) -> str:
    """Name a TOML value and its type as a person would: ``the text "x"``, ``the number 3``."""
    match value:
        case bool():
            return f"the boolean {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            return f'the text "{value}"'
        case list():
            return "a list"
        case Mapping():
            return "a table"
        case _:
            return f"{value}"


def _table(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Invalid(f"expected a table, got {describe(value)}")
    return value


def did_you_mean(word: object, words: Iterable[str]) -> str:
    """Return ``; did you mean '...'?`` for the word that is nearest, or nothing."""
    close = difflib.get_close_matches(str(word), list(words), n=1)
    return f"; did you mean '{close[0]}'?" if close else ""
