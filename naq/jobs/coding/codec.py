"""Calls and values to bytes and back: by pickle, or by JSON where nothing may be unpickled.

A function travels by reference (``module:qualname``). Only under pickle, and only when it cannot
be imported (defined in ``__main__``, a lambda, a closure), it travels by value (cloudpickle).
Plain :mod:`pickle` does the common case: making a cloudpickle pickler costs ten times as much.

With a secret key every job and result carries an HMAC-SHA256 of its bytes. Nothing is decoded
before its signature was checked (docs/design/security.md).
"""

from __future__ import annotations

import hashlib
import hmac
import pickle
import sys
from dataclasses import dataclass, field
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from naq.base import text
from naq.base.names import SIGNATURE
from naq.exceptions import ConfigurationError, SerializationError
from naq.jobs.calls.arguments import from_json, to_json, value_to_json
from naq.jobs.calls.call import named, unwrapped
from naq.jobs.coding import allowed, unpickle

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from naq.jobs.job import JobMessage
    from naq.settings import Settings

__all__ = ["Codec", "reference"]


T = TypeVar("T")

_encoder = msgspec.msgpack.Encoder()
_decoders: dict[type, msgspec.msgpack.Decoder[Any]] = {}


def _decoder(cls: type) -> msgspec.msgpack.Decoder[Any]:
    try:
        return _decoders[cls]
    except KeyError:
        return _decoders.setdefault(cls, msgspec.msgpack.Decoder(cls))


def reference(function: Callable[..., Any]) -> str | None:
    """``module:qualname`` under which ``function`` can be imported, None if it cannot.

    Asked anew each time, which costs less than a microsecond: what is kept would keep the function,
    and be wrong once another stands under that name.
    """
    module = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    if not module or not qualname or module == "__main__" or "<" in qualname:
        return None
    if isinstance(function, MethodType) and isinstance(function.__self__, type):
        return _class_method(function, function.__self__)
    try:
        found = text.attribute(sys.modules[module], qualname)
    except (KeyError, AttributeError):
        return None
    # A task stands under the name of its function; another decorator is part of what is run.
    same = found is function or unwrapped(found) is unwrapped(function)
    return f"{module}:{qualname}" if same else None


def _class_method(method: MethodType, cls: type) -> str | None:
    """Return the name of a class method, by the class it was taken from."""
    ref = f"{cls.__module__}:{cls.__qualname__}.{method.__name__}"
    if cls.__module__ == "__main__" or "<" in ref:
        return None
    return ref if named(ref) == method else None


def _display_name(function: Callable[..., Any]) -> str:
    module = getattr(function, "__module__", None) or "?"
    name = getattr(function, "__qualname__", None) or type(function).__name__
    return f"{module}:{name}"


def _by_value_registered() -> bool:
    """Whether the program asked cloudpickle to send some modules by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    return bool(cloudpickle and cloudpickle.list_registry_pickle_by_value())


def _pickle(value: Any, what: str, of: str = "") -> bytes:
    """Pickle by reference where that works, by value where it does not.

    Things from ``__main__`` pickle by reference without complaint, and cannot be found on the
    other side; their module's name is in the bytes.
    """
    try:
        data = pickle.dumps(value, protocol=5)
        if b"__main__" not in data and not _by_value_registered():
            return data
    except Exception:  # noqa: BLE001, S110 - cloudpickle can do more; its error is the one to show
        pass
    return _cloudpickle(value, what + of)


def _cloudpickle(value: Any, what: str) -> bytes:
    import cloudpickle  # noqa: PLC0415 - 15 ms and 1 MB that most programs never need

    try:
        return bytes(cloudpickle.dumps(value, protocol=5))
    except Exception as exc:
        raise SerializationError(f"{what} cannot be pickled: {_said(exc)}") from exc


def _said(exc: BaseException) -> str:
    return f"{type(exc).__name__}: {exc}"


def _resolve(ref: str) -> Any:
    try:
        return text.resolve(ref)
    except ValueError as exc:
        raise SerializationError(str(exc)) from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How this process writes calls and values, and what it is ready to read."""

    mode: str = "pickle"
    allow: tuple[str, ...] = ()
    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def from_settings(cls, settings: Settings, *, allow: tuple[str, ...] = ()) -> Codec:
        """Make the codec the settings ask for; ``allow`` adds functions for ``json`` mode."""
        return cls(
            mode=settings.job_serializer,
            allow=settings.allow + allow,
            key=settings.secret_key,
        )

    # ------------------------------------------------------------------ calls

    def encode_call(
        self,
        function: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[str, bytes, str]:
        """Return ``(name, payload, encoding)`` of a call.

        Args:
            function: the callable, or its ``module:qualname``.
            args: positional arguments.
            kwargs: keyword arguments.

        Raises:
            SerializationError: the function or an argument cannot be sent.
        """
        if isinstance(function, str):
            ref: str | None = function
            if not function.partition(":")[2]:
                raise ConfigurationError(
                    f"{function!r} does not name a function; write it as module:function"
                )
        elif not callable(function):
            raise ConfigurationError(f"{function!r} is not callable, so it cannot be a job")
        else:
            ref = reference(function)
        if self.mode == "json":
            if ref is None:
                raise SerializationError(
                    f"{function!r} cannot be imported by name, and only pickle sends it by value"
                )
            return ref, self.encode_arguments(ref, args, kwargs, function), "json"
        if ref is not None:
            return ref, self.encode_arguments(ref, args, kwargs, function), "pickle"
        assert not isinstance(function, str)
        name = _display_name(function)
        payload = _cloudpickle((function, args, kwargs), f"{name} or its arguments")
        return name, payload, "cloudpickle"

    def encode_arguments(
        self,
        ref: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        function: Callable[..., Any] | str,
    ) -> bytes:
        """Return the payload of a call of ``function``, which can be imported as ``ref``.

        Raises:
            SerializationError: an argument cannot be sent.
        """
        if self.mode != "json":
            return _pickle((args, kwargs), "the arguments of ", ref)
        here = unwrapped(named(function)) if isinstance(function, str) else function
        return to_json(ref, here if callable(here) else None, args, kwargs)

    def decode_call(
        self, job: JobMessage
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Return ``(function, args, kwargs)`` of a queued job.

        Raises:
            SerializationError: this process may not decode it, or cannot.
            ImportError, AttributeError: its function is not here, or a class in its arguments.
        """
        if job.encoding == "json":
            if self.mode == "json":
                function = allowed.resolve(job.function, self.allow)
            else:
                function = _resolve(job.function)
            return function, *from_json(unwrapped(function), job.function, job.payload)
        if self.mode == "json":
            raise SerializationError(
                f"it is encoded as {job.encoding!r}, and nothing is unpickled in JSON mode"
            )
        if job.encoding == "pickle":
            function = _resolve(job.function)
            args, kwargs = _unpickle_call(job.payload, "its arguments")
            return function, args, kwargs
        if job.encoding == "cloudpickle":
            function, args, kwargs = _unpickle_call(job.payload, "its function")
            return function, args, kwargs
        raise SerializationError(f"encoding {job.encoding!r} is not known to this version of naq")

    # ----------------------------------------------------------------- values

    def encode_value(self, value: Any) -> tuple[bytes, str]:
        """Return ``(bytes, encoding)`` of a job's value.

        Raises:
            SerializationError: it cannot be sent.
        """
        if self.mode == "json":
            return value_to_json(value), "json"
        return _pickle(value, "the result"), "pickle"

    def decode_value(self, data: bytes, encoding: str) -> Any:
        """Return the value a job came to.

        Raises:
            SerializationError: this process may not decode it, or cannot.
        """
        if encoding == "json":
            try:
                return msgspec.json.decode(data)
            except msgspec.MsgspecError as exc:
                raise SerializationError(f"the result is not JSON: {exc}") from exc
        if self.mode == "json":
            raise SerializationError("the result is pickled, and nothing is unpickled in JSON mode")
        return _unpickle(data, "the result")

    # --------------------------------------------------------------- messages

    def seal(self, message: msgspec.Struct) -> tuple[bytes, dict[str, str]]:
        """Return ``(body, headers)`` of a message; signed when there is a key.

        Raises:
            SerializationError: something in it cannot be written.
        """
        try:
            body = _encoder.encode(message)
        except Exception as exc:
            kind = type(message).__name__
            raise SerializationError(f"this {kind} cannot be written: {_said(exc)}") from exc
        if self.key is None:
            return body, {}
        return body, {SIGNATURE: self._signature(type(message), body)}

    def open(self, cls: type[T], body: bytes, headers: Mapping[str, str] | None) -> T:
        """Check a message's signature when there is a key, then decode it.

        Raises:
            SerializationError: unsigned, wrongly signed, or not a message of this kind.
        """
        if self.key is not None:
            given = (headers or {}).get(SIGNATURE, "")
            if not given:
                raise SerializationError("it is not signed, and NAQ_SECRET_KEY is set")
            if not hmac.compare_digest(given, self._signature(cls, body)):
                raise SerializationError("its signature is wrong")
        try:
            message: T = _decoder(cls).decode(body)
        except msgspec.MsgspecError as exc:
            raise SerializationError(f"it is no {cls.__name__}: {exc}") from exc
        return message

    def _signature(self, cls: type, body: bytes) -> str:
        assert self.key is not None
        # The kind is signed too, so that a result cannot be replayed as a job.
        return hmac.new(self.key, cls.__name__.encode() + b"\0" + body, hashlib.sha256).hexdigest()


def _unpickle_call(data: bytes, what: str) -> Any:
    """Unpickle, with one error more: what is not here now may be after the next deploy."""
    try:
        return unpickle.loads(data)
    except (ImportError, AttributeError):
        raise
    except Exception as exc:
        raise SerializationError(f"{what} cannot be unpickled: {_said(exc)}") from exc


def _unpickle(data: bytes, what: str) -> Any:
    try:
        return unpickle.loads(data)
    except Exception as exc:
        raise SerializationError(f"{what} cannot be unpickled: {_said(exc)}") from exc
