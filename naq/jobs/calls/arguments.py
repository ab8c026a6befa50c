"""Arguments as JSON, and back to what the function's annotations ask for.

JSON has fewer types than Python. An argument that it does not have (a date, a tuple, a model) is
brought back by the annotation of its parameter; without one it would arrive as something else, and
is refused instead, by the producer if it has the function, by the worker if not. What has no JSON
at all (NaN among it) is refused at once.

Models of pydantic, and whatever else has ``model_dump`` and ``model_validate``, are written and
read by these.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import typing
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec

from naq.exceptions import SerializationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Arguments = tuple[tuple[Any, ...], dict[str, Any]]

__all__ = ["from_json", "to_json", "value_to_json"]


class _JsonCall(msgspec.Struct, omit_defaults=True):
    """The payload; ``typed`` are places and names whose values JSON alone does not bring back."""

    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    typed: list[int | str] = []


class _Signature(typing.NamedTuple):
    signature: inspect.Signature
    hints: dict[str, Any]


# ---------------------------------------------------------------------- there


def to_json(
    ref: str, function: Callable[..., Any] | None, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> bytes:
    """Return the payload of a call.

    Args:
        ref: the function's name.
        function: the function itself, None if it is not here.
        args: positional arguments.
        kwargs: keyword arguments.

    Raises:
        SerializationError: an argument has no JSON, or would arrive as something else.
    """
    call = _JsonCall(list(args), dict(kwargs))
    data = _encoded(call, f"the arguments of {ref} are")
    plain = _decode_call(data)
    places: list[int | str] = [i for i, value in enumerate(args) if _differs(value, plain.args[i])]
    places += [name for name, value in kwargs.items() if _differs(value, plain.kwargs[name])]
    if not places:
        return data
    if function is None:
        call.typed = places
        return _encoded(call, f"the arguments of {ref} are")
    _require_same(ref, function, call, plain, places)
    return data


def value_to_json(value: Any) -> bytes:
    """Return a result as JSON: what JSON does not have becomes what is nearest to it.

    Raises:
        SerializationError: it has no JSON.
    """
    return _encoded(value, "the result is")


def _encoded(value: Any, what: str) -> bytes:
    try:
        data = msgspec.json.encode(value, enc_hook=_dumped)
        lost = b"null" in data and _has_nan(msgspec.to_builtins(value, enc_hook=_dumped))
    except Exception as exc:
        raise SerializationError(f"{what} not JSON: {exc}") from exc
    if lost:
        raise SerializationError(
            f"{what} not JSON: it has neither NaN nor infinity; pass None or a text"
        )
    return data


def _dumped(value: Any) -> Any:
    dump = getattr(type(value), "model_dump", None)
    if dump is None:
        raise TypeError(f"there is no JSON for a {type(value).__qualname__}")
    return dump(value, mode="json")


def _has_nan(value: Any) -> bool:
    match value:
        case float():
            return not math.isfinite(value)
        case list() | tuple() | set() | frozenset():
            return any(map(_has_nan, value))
        case dict():
            return any(map(_has_nan, value.values()))
    return False


def _differs(given: Any, there: Any) -> bool:
    """Whether a value that went through JSON is not what was given."""
    try:
        return not bool(given == there)
    except Exception:  # noqa: BLE001 - a comparison of the user's own
        return True


def _require_same(
    ref: str,
    function: Callable[..., Any],
    given: _JsonCall,
    plain: _JsonCall,
    places: list[int | str],
) -> None:
    """Refuse arguments that would arrive as something else than was given."""
    args, kwargs = _converted(function, ref, plain)
    for place in places:
        if isinstance(place, int):
            before, after = given.args[place], args[place]
        else:
            before = given.kwargs[place]
            after = kwargs[place] if place in kwargs else _bound(function, place, args)
        name = _name_of(function, place)
        if not _arrives(before, after, _described(function).hints.get(name, Any)):
            raise SerializationError(
                f"{ref}: argument {name!r}, a {type(before).__qualname__}, would arrive as "
                f"{after!r:.80}; annotate the parameter with its type"
            )


def _bound(function: Callable[..., Any], name: str, args: tuple[Any, ...]) -> Any:
    """Return a keyword argument that binding has made positional."""
    return args[list(_described(function).signature.parameters).index(name)]


def _arrives(given: Any, there: Any, hint: Any) -> bool:
    """Whether what arrives is what was given, or what the annotation asks for in its place."""
    if not _vague(hint):
        return _same(given, there)
    asked = hint not in (Any, object) and isinstance(given, tuple) and isinstance(there, list)
    return not _differs(list(given) if asked else given, there)


def _same(given: Any, there: Any) -> bool:
    """Whether an argument arrives as what was given; a list where one was asked for is one."""
    if not _differs(given, there):
        return True
    if isinstance(given, (list, tuple)) and isinstance(there, (list, tuple)):
        return len(given) == len(there) and all(map(_same, given, there))
    if isinstance(given, dict) and isinstance(there, dict):
        return given.keys() == there.keys() and all(_same(given[k], there[k]) for k in given)
    return type(given) is type(there) and not isinstance(given, (set, frozenset))


# ---------------------------------------------------------------------- back


def from_json(function: Callable[..., Any], ref: str, payload: bytes) -> Arguments:
    """Return the arguments in a payload, as what the function's annotations ask for.

    Raises:
        SerializationError: it is no such payload, or an argument does not fit its annotation.
    """
    try:
        call = _decode_call(payload)
    except msgspec.MsgspecError as exc:
        raise SerializationError(f"the arguments are not JSON: {exc}") from exc
    return _converted(function, ref, call)


_decode_call = msgspec.json.Decoder(_JsonCall).decode


def _converted(function: Callable[..., Any], ref: str, call: _JsonCall) -> Arguments:
    try:
        described = _described(function)
        bound = described.signature.bind(*call.args, **call.kwargs)
    except (TypeError, ValueError) as exc:
        raise SerializationError(f"{ref}: {exc}") from exc
    typed = {_name_of(function, place) for place in call.typed}
    for name, value in bound.arguments.items():
        hint = described.hints.get(name, Any)
        if name in typed and _vague(hint):
            raise SerializationError(
                f"{ref}: argument {name!r} was given as a type that JSON does not have; annotate "
                "the parameter with it, where the worker can see it"
            )
        if hint is not Any:
            kind = described.signature.parameters[name].kind
            bound.arguments[name] = _fitting(ref, name, value, hint, kind)
    return bound.args, bound.kwargs


def _fitting(ref: str, name: str, value: Any, hint: Any, kind: Any) -> Any:
    """Return an argument as its annotation says."""
    try:
        if kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(
                msgspec.convert(v, hint, dec_hook=_validated, str_keys=True) for v in value
            )
        if kind is inspect.Parameter.VAR_KEYWORD:
            return {
                k: msgspec.convert(v, hint, dec_hook=_validated, str_keys=True)
                for k, v in value.items()
            }
        return msgspec.convert(value, hint, dec_hook=_validated, str_keys=True)
    except msgspec.ValidationError as exc:
        text = " ".join(str(exc).split())  # a model says it in several lines
        raise SerializationError(f"{ref}: argument {name!r}: {text}") from exc
    except TypeError:  # an annotation msgspec does not know checks nothing
        return value


def _validated(kind: Any, value: Any) -> Any:
    validate = getattr(kind, "model_validate", None)
    if validate is not None:
        return validate(value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    raise ValueError(f"Expected `{getattr(kind, '__qualname__', kind)}`, which has no JSON")


def _vague(hint: Any) -> bool:
    """Whether an annotation leaves open what values are: a type that JSON lacks is not meant."""
    if hint in (Any, object, list, dict, tuple, set, frozenset):
        return True
    return any(map(_vague, typing.get_args(hint)))


def _name_of(function: Callable[..., Any], place: int | str) -> str:
    """Return the parameter that takes a positional argument, or a keyword."""
    parameters = _described(function).signature.parameters
    if isinstance(place, str):
        return place if place in parameters else _last(parameters, inspect.Parameter.VAR_KEYWORD)
    in_order = [
        name
        for name, parameter in parameters.items()
        if parameter.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD
    ]
    if place < len(in_order):
        return in_order[place]
    return _last(parameters, inspect.Parameter.VAR_POSITIONAL)


def _last(parameters: Mapping[str, inspect.Parameter], kind: Any) -> str:
    return next((name for name, found in parameters.items() if found.kind is kind), "?")


# ----------------------------------------------------------------- functions

_known: weakref.WeakKeyDictionary[Any, _Signature] = weakref.WeakKeyDictionary()
"""Of functions that are alive: none is kept by being called."""


def _described(function: Callable[..., Any]) -> _Signature:
    try:
        return _known[function]
    except (KeyError, TypeError):  # TypeError: it can be no key
        found = _Signature(inspect.signature(function), dict(_hints(function)))
    with contextlib.suppress(TypeError):
        _known[function] = found
    return found


def _hints(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    """Yield the annotations that can be evaluated here, each by itself."""
    try:
        yield from typing.get_type_hints(function).items()
    except Exception:  # noqa: BLE001 - one of them cannot: a name for type checkers alone
        scope = getattr(inspect.unwrap(function), "__globals__", {})
        for name, annotation in getattr(function, "__annotations__", {}).items():
            one: Any = SimpleNamespace(__annotations__={name: annotation})
            try:
                yield from typing.get_type_hints(one, globalns=scope).items()
            except Exception:  # noqa: BLE001, S112 - it says nothing, then
                continue
