"""Arguments and results for people, from bytes that must not be executed.

JSON is shown as it is. A pickle is a program for a small stack machine; :func:`shown` and
:func:`value_of` follow it without ever importing or calling anything: what it would import becomes
a name, what it would call becomes the text of that call. If they cannot follow it, they say so.
"""

from __future__ import annotations

import pickletools
from typing import Any

import msgspec

__all__ = ["shown", "value_of"]

LIMIT = 4_000
"""The most characters that are shown."""
DEPTH = 20
STEPS = 20_000
"""The most steps of a pickle that are followed."""
STEPS_OF_VALUE = 200_000
"""The same for one value, which is not shown among others."""


class _Named:
    """Something the pickle would import or make; shown as its text."""

    def __init__(self, text: str) -> None:
        self.text = text[:LIMIT]


_MARK = object()
_BRACKETS = {list: ("[", "]"), tuple: ("(", ")"), set: ("{", "}"), frozenset: ("{", "}")}


def shown(payload: bytes, encoding: str) -> str:
    """Return the arguments of a job as text, at most :data:`LIMIT` characters.

    Args:
        payload: of a :class:`naq.jobs.job.JobMessage`.
        encoding: of the payload.
    """
    if encoding == "json":
        return _cut(_json(payload))
    try:
        found = _walk(payload, STEPS)
    except Exception:  # noqa: BLE001 - whatever somebody put there, it is only shown
        return _hidden(payload)
    return _cut(_call(found, by_value=encoding == "cloudpickle"))


def value_of(payload: bytes, encoding: str) -> Any:
    """Return a job's result: the value itself where it is plain, otherwise text that describes it.

    Args:
        payload: the value of a :class:`naq.jobs.job.JobRecord`.
        encoding: of the payload.
    """
    try:
        if encoding == "json":
            return msgspec.json.decode(payload)
        found = _walk(payload, STEPS_OF_VALUE)
        return found if _Plain().all(found, 0) else _cut(_text(found))
    except Exception:  # noqa: BLE001 - whatever somebody put there, it is only shown
        return _hidden(payload)


def _hidden(payload: bytes) -> str:
    return f"({len(payload)} bytes that cannot be shown without executing them)"


class _Plain:
    """Tells values that are what they seem from descriptions; and trees from what never ends."""

    def __init__(self) -> None:
        self._left = STEPS_OF_VALUE

    def all(self, value: Any, depth: int) -> bool:
        """Whether a value and all in it is plain."""
        self._left -= 1
        if depth > DEPTH or self._left < 0 or isinstance(value, _Named):
            return False
        if isinstance(value, dict):
            pairs = value.items()
            return all(self.all(k, depth + 1) and self.all(v, depth + 1) for k, v in pairs)
        if isinstance(value, list | tuple | set | frozenset):
            return all(self.all(item, depth + 1) for item in value)
        return True


def _json(payload: bytes) -> str:
    try:
        call = msgspec.json.decode(payload)
        args, kwargs = call.get("args", []), call.get("kwargs", {})
        parts = [msgspec.json.encode(arg).decode() for arg in args]
        parts += [f"{k}={msgspec.json.encode(v).decode()}" for k, v in kwargs.items()]
    except (msgspec.MsgspecError, AttributeError, TypeError):
        return payload.decode(errors="replace")
    return ", ".join(parts)


def _call(found: Any, *, by_value: bool) -> str:
    if by_value and isinstance(found, tuple) and len(found) == 3:
        found = found[1:]
    if not (isinstance(found, tuple) and len(found) == 2):
        return _text(found)
    args, kwargs = found
    parts = [_text(arg) for arg in args] if isinstance(args, tuple) else [_text(args)]
    if isinstance(kwargs, dict):
        parts += [f"{_text(k, bare=True)}={_text(v)}" for k, v in kwargs.items()]
    return ", ".join(parts)


def _text(value: Any, *, bare: bool = False) -> str:
    """Return the ``repr`` of a value, cut off once it is too long.

    A few hundred bytes that refer to one another can stand for more text than there is memory.
    """
    if bare and isinstance(value, str):
        return value[:LIMIT]
    writer = _Writer()
    writer.write(value, 0)
    return "".join(writer.parts)


class _Writer:
    """Writes values until there is no room left."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._room = LIMIT + 1

    def write(self, value: Any, depth: int) -> None:
        """Write a value and what it contains."""
        match value:
            case _ if depth > DEPTH:
                self._put("…")
            case _Named():
                self._put(value.text)
            case str() | bytes() | bytearray():
                self._put(repr(value[:LIMIT]))
            case dict():
                self._put("{")
                for index, (key, item) in enumerate(value.items()):
                    if not self._more(index):
                        break
                    self.write(key, depth + 1)
                    self._put(": ")
                    self.write(item, depth + 1)
                self._put("}")
            case list() | tuple() | set() | frozenset():
                opening, closing = _BRACKETS[type(value)]
                self._put(opening)
                for index, item in enumerate(value):
                    if not self._more(index):
                        break
                    self.write(item, depth + 1)
                self._put(",)" if isinstance(value, tuple) and len(value) == 1 else closing)
            case _:
                self._put(repr(value))

    def _more(self, index: int) -> bool:
        if self._room <= 0:
            return False
        if index:
            self._put(", ")
        return True

    def _put(self, text: str) -> None:
        if self._room > 0:
            self.parts.append(text[: self._room])
            self._room -= len(text)


def _cut(text: str) -> str:
    return text if len(text) <= LIMIT else f"{text[:LIMIT]}… ({len(text)} characters)"


def _walk(payload: bytes, steps: int) -> Any:
    machine = _Machine()
    for step, (opcode, arg, _) in enumerate(pickletools.genops(payload)):
        if step > steps:
            raise ValueError
        if opcode.name == "STOP":
            return machine.stack.pop()
        machine.do(opcode.name, arg)
    raise ValueError


# Opcodes that push what they carry.
_LITERALS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
        *("UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
    }
)
_CONSTANTS = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
    "EMPTY_TUPLE": (),
}
_IGNORED = frozenset({"PROTO", "FRAME"})


class _Machine:
    """The stack machine, without the instructions that act."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def do(self, name: str, arg: Any) -> None:
        """Execute one step."""
        if name in _IGNORED:
            return
        if name in _LITERALS:
            self.stack.append(arg)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        else:
            step = getattr(self, f"_{name.lower()}", None)
            if step is None:
                raise ValueError(name)
            step(arg)

    def _above_mark(self) -> list[Any]:
        at = len(self.stack) - 1 - self.stack[::-1].index(_MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def _mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _pop(self, _: Any) -> None:
        self.stack.pop()

    def _pop_mark(self, _: Any) -> None:
        self._above_mark()

    def _dup(self, _: Any) -> None:
        self.stack.append(self.stack[-1])

    # ---------------------------------------------------------------- memory

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _binput(self, arg: int) -> None:
        self._memo[arg] = self.stack[-1]

    _long_binput = _put = _binput

    def _binget(self, arg: int) -> None:
        self.stack.append(self._memo[arg])

    _long_binget = _get = _binget

    # ------------------------------------------------------------ containers

    def _empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _empty_set(self, _: Any) -> None:
        self.stack.append(set())

    def _append(self, _: Any) -> None:
        item = self.stack.pop()
        self._extend(self.stack[-1], [item])

    def _appends(self, _: Any) -> None:
        items = self._above_mark()
        self._extend(self.stack[-1], items)

    def _extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, _Named):
            target.text = f"{target.text}{_text(items)}"[:LIMIT]

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._update(self.stack[-1], [key, value])

    def _setitems(self, _: Any) -> None:
        items = self._above_mark()
        self._update(self.stack[-1], items)

    def _update(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, dict):
            target.update(zip(map(_key, items[::2]), items[1::2], strict=True))

    def _additems(self, _: Any) -> None:
        items = self._above_mark()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(map(_key, items))

    def _tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._above_mark()))

    def _list(self, _: Any) -> None:
        self.stack.append(self._above_mark())

    def _dict(self, _: Any) -> None:
        items = self._above_mark()
        self.stack.append(dict(zip(map(_key, items[::2]), items[1::2], strict=True)))

    def _frozenset(self, _: Any) -> None:
        self.stack.append(frozenset(map(_key, self._above_mark())))

    def _tuple1(self, _: Any) -> None:
        self._tuple_of(1)

    def _tuple2(self, _: Any) -> None:
        self._tuple_of(2)

    def _tuple3(self, _: Any) -> None:
        self._tuple_of(3)

    def _tuple_of(self, count: int) -> None:
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        self.stack.append(items)

    # ----------------------------------------- what a pickle would import or call

    def _global(self, arg: str) -> None:
        self.stack.append(_Named(arg.replace(" ", ".")))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        self.stack.append(_Named(f"{module}.{name}"))

    def _reduce(self, _: Any) -> None:
        args, function = self.stack.pop(), self.stack.pop()
        inside = ", ".join(map(_text, args)) if isinstance(args, tuple) else _text(args)
        self.stack.append(_Named(f"{_text(function)}({inside})"))

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        kwargs, args, cls = self.stack.pop(), self.stack.pop(), self.stack.pop()
        inside = [_text(arg) for arg in args]
        inside += [f"{_text(k, bare=True)}={_text(v)}" for k, v in kwargs.items()]
        self.stack.append(_Named(f"{_text(cls)}({', '.join(inside)})"))

    def _build(self, _: Any) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if isinstance(made, _Named):
            made.text = f"<{made.text} {_text(state)}>"[:LIMIT]

    def _binpersid(self, _: Any) -> None:
        self.stack.append(_Named(f"<{_text(self.stack.pop())}>"))


def _key(value: Any) -> Any:
    """Return something that can be a key."""
    try:
        hash(value)
    except TypeError:
        return _Named(_text(value))
    return value
