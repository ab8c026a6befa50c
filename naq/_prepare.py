"""From a call as it is written to a job: what is the function's own, and what is an option."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from naq import _options
from naq._names import new_id
from naq._task import Call, Task
from naq.exceptions import ConfigurationError
from naq.job import JobMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from naq.serializers import Codec

    Function = Callable[..., Any] | Task[..., Any] | Call | str

__all__ = ["Prepared", "prepare"]


class Prepared(NamedTuple):
    """A job that is ready to be sent, and whether its id was given by the caller.

    ``trace`` are the headers that carry the context of a trace, once there is one.
    """

    message: JobMessage
    given_id: bool
    trace: dict[str, str] | None = None


def prepare(
    codec: Codec,
    queue: str,
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    due: float | None = None,
) -> Prepared:
    """Build the message from what was called, and check the options.

    Args:
        codec: encodes the call.
        queue: the job's queue.
        function: what was called, bound or decorated or not.
        args: its positional arguments.
        kwargs: its keyword arguments, and the options.
        due: when it becomes runnable, seconds since the epoch; None: at once.

    Raises:
        ConfigurationError: an option cannot be used.
        SerializationError: the function or an argument cannot be sent.
    """
    options, own = _options.split(kwargs)
    if isinstance(function, Call):
        if args or own:
            raise ConfigurationError("give the arguments to naq.call, not beside it")
        bound = function
        options = {**options, **bound.options}
        function, args, own = bound.function, bound.args, bound.kwargs
    elif options:
        target = function.function if isinstance(function, Task) else function
        _options.clashing(target, options)
    if isinstance(function, Task):
        options = {**function.options, **options}
        function = function.function
    name, payload, encoding = codec.encode_call(function, args, own)
    now = time.time()
    fields = _options.normalize(options, due=due or now) if options else {}
    given_id = fields.pop("id", None)
    message = JobMessage(
        id=given_id or new_id(),
        queue=queue,
        function=name,
        payload=payload,
        encoding=encoding,
        enqueued_at=now,
        due_at=due,
        **fields,
    )
    return Prepared(message, given_id is not None)
