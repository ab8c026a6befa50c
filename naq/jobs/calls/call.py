"""A call that is to be a job: what is called, with which arguments, and under which policy.

A call is written in one of four ways: a function and its arguments, a name (``module:function``), a
task (:class:`Declared`), or arguments bound beforehand (:class:`Call`). :func:`bind` turns each of
them into a :class:`Call`.

What a task says of its jobs (its :class:`Policy`) goes with every call of it, in whichever way that
is written; :func:`policy_of` is the one place that finds it. Options given for one enqueue win over
it, and those of one call (``with_options``) over both.

Options are keywords, with the same names in ``enqueue``, ``@naq.task`` and on the command line. A
function that has a parameter of such a name is enqueued as ``naq.call(function, …)``.
"""

from __future__ import annotations

import inspect
import logging
import sys
from functools import lru_cache, update_wrapper
from importlib import import_module
from types import FunctionType, MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    NamedTuple,
    ParamSpec,
    SupportsIndex,
    TypeAlias,
    TypeVar,
)

from naq.base.public import public
from naq.base.text import attribute
from naq.exceptions import ConfigurationError
from naq.jobs.calls.options import OPTIONS, refuse_clashes, refuse_future, refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Function: TypeAlias = "Callable[..., Any] | Declared[..., Any] | Call | str"

__all__ = [
    "NO_POLICY",
    "Call",
    "Declared",
    "Policy",
    "bind",
    "call",
    "named",
    "policy_of",
    "queue_of",
    "split",
    "unwrapped",
]

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("naq.queue")

_NONE: dict[str, Any] = {}
"""The options of a call without any; one for all of them, and never changed."""


class Policy(NamedTuple):
    """What a task says of its jobs: their queue, None if it names none, and their options."""

    queue: str | None
    options: Mapping[str, Any]
    task: Declared[..., Any] | None = None


NO_POLICY = Policy(None, _NONE)
"""That of a plain function."""


@public
class Call:
    """A function with its arguments, ready to be enqueued; made by :func:`call`."""

    __slots__ = ("args", "function", "kwargs", "options", "policy")

    def __init__(
        self,
        function: Callable[..., Any] | str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any] | None = None,
        policy: Policy = NO_POLICY,
    ) -> None:
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.options = options or _NONE
        self.policy = policy

    def __repr__(self) -> str:
        name = getattr(self.function, "__qualname__", self.function)
        return f"<naq.call {name}>"

    def __getstate__(self) -> tuple[None, dict[str, Any]]:
        """Return what is pickled, as older releases read it: the task says what its policy is."""
        fields = {name: getattr(self, name) for name in ("args", "function", "kwargs", "options")}
        if self.policy.task is not None:
            fields["function"] = self.policy.task
        return None, fields

    def __setstate__(self, state: tuple[None, dict[str, Any]]) -> None:
        """Take what was pickled."""
        for name, value in state[1].items():
            setattr(self, name, value)
        self.policy = policy_of(self.function)
        self.function = unwrapped(self.function)

    def with_options(self, **options: Any) -> Call:
        """Return this call with options of its own, which override those of the enqueue.

        Raises:
            ConfigurationError: there is no such option of enqueue.
        """
        refuse_unknown(options)
        own = {**self.options, **options}
        return Call(self.function, self.args, self.kwargs, own, self.policy)


@public
def call(function: Callable[..., Any] | str, /, *args: Any, **kwargs: Any) -> Call:
    """Bind arguments for a later enqueue; every keyword goes to the function.

    ``naq.enqueue_many([naq.call(add, i, 1) for i in range(10_000)])``

    Of a task, also by its name, the queue and options go with the call.
    """
    if type(function) is FunctionType:  # most often, and none of the others
        return Call(function, args, kwargs)
    return Call(unwrapped(function), args, kwargs, None, policy_of(function))


class Declared(Generic[P, R]):
    """A function with the queue and options its jobs get. Calling it just calls it."""

    def __init__(
        self, function: Callable[P, R], *, queue: str | None, options: dict[str, Any]
    ) -> None:
        update_wrapper(self, function)  # first: it also copies what the function has in __dict__
        self.function = function
        self.queue = queue
        self.options = options
        # So that inspect and frameworks see what calling it gives. Python 3.11 cannot be told.
        if inspect.iscoroutinefunction(function) and hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.function(*args, **kwargs)

    def __reduce_ex__(self, protocol: SupportsIndex) -> Any:
        """Return its name, if it is found under that where it is unpickled; else its parts."""
        module, name = self.__module__, vars(self).get("__qualname__")
        if module == "__main__" or _by_value(module) or named(f"{module}:{name}") is not self:
            return super().__reduce_ex__(protocol)
        return name

    def __repr__(self) -> str:
        return f"<naq.task {self.function.__module__}:{self.function.__qualname__}>"

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """Bind arguments for a later enqueue; queue and options of the task go with them."""
        return Call(self.function, args, dict(kwargs), None, policy_of(self))


def _by_value(module: str) -> bool:
    """Whether the program asked cloudpickle to send what is in a module by value."""
    cloudpickle = sys.modules.get("cloudpickle")
    sent = cloudpickle.list_registry_pickle_by_value() if cloudpickle else ()
    return any(module == name or module.startswith(f"{name}.") for name in sent)


def unwrapped(function: Any) -> Any:
    """Return the function of a task; anything else as it is, whatever its attributes are called."""
    return function.function if isinstance(function, Declared) else function


# ------------------------------------------------------------------ policies


def policy_of(function: object) -> Policy:
    """Return what is said of the jobs of a function, in whichever way it is written.

    A name is looked up, and its module imported, if it is here; a producer that does not have the
    code cannot know the policy.
    """
    if isinstance(function, Call):
        return function.policy
    if isinstance(function, str):
        module = function.partition(":")[0]
        function = named(function) if module in sys.modules or _importable(module) else None
    if isinstance(function, MethodType):  # a class method that is a task
        function = function.__func__
    if not isinstance(function, Declared):
        return NO_POLICY
    return Policy(function.queue, function.options, function)


def queue_of(function: object) -> str | None:
    """Return the queue a call of ``function`` goes to where none is given; None: any."""
    return policy_of(function).queue


def named(ref: str) -> Any:
    """Return what ``module:function`` names in a module that is imported; else None."""
    module, _, path = ref.partition(":")
    try:
        return attribute(sys.modules[module], path)
    except (KeyError, AttributeError):
        return None


@lru_cache(maxsize=1024)
def _importable(module: str) -> bool:
    """Import a module; False if that cannot be done here, which is not tried again."""
    try:
        import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name and (module == exc.name or module.startswith(f"{exc.name}.")):
            return False
        problem: Exception = exc
    except Exception as exc:  # noqa: BLE001 - whatever the user's module does
        problem = exc
    else:
        return True
    log.warning(
        "cannot import %s (%s: %s): its functions are queued by name, without the options of "
        "their tasks",
        module,
        type(problem).__name__,
        problem,
    )
    return False


# -------------------------------------------------------------------- binding


def bind(function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Call:
    """Return the call that was written: arguments and options apart, those of a task included.

    Options that are given for this call win over those of the task, and those of a
    :class:`Call` over both.

    Args:
        function: what is to be called, in any of the four ways.
        args: its positional arguments.
        kwargs: its keyword arguments, and options.

    Raises:
        ConfigurationError: arguments beside a :class:`Call`, an option that is also a parameter
            of the function, or a word that may become an option.
    """
    if not kwargs and type(function) is FunctionType:  # most often, and nothing to look for
        return Call(function, args, kwargs)
    options, own = split(kwargs)
    if isinstance(function, Call):
        if args or own:
            raise ConfigurationError("give the arguments to naq.call, not after it")
        bound = function
    else:
        if own:
            refuse_future(function, own)
        bound = call(function, *args, **own)
        if options:
            refuse_clashes(bound.function, options)
    return _merged(bound, options)


def _merged(bound: Call, options: dict[str, Any]) -> Call:
    """Return a call with all its options: its task's, those of the enqueue, its own."""
    policy = bound.policy
    if not options and not policy.options:
        return bound
    every = {**policy.options, **options, **bound.options}
    return Call(bound.function, bound.args, bound.kwargs, every, Policy(policy.queue, _NONE))


def split(kwargs: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part keyword arguments into ``(options, the function's own)``."""
    if not kwargs:
        return {}, kwargs
    options = {name: kwargs.pop(name) for name in OPTIONS & kwargs.keys()}
    return options, kwargs
