"""User code that leaves a job in every way there is; ``WAYS`` says what becomes of each job."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from typing import NamedTuple

import anyio


class TimedOut(BaseException):
    """Like those of timeout libraries and of test runners."""


class Unspeakable(BaseException):
    def __str__(self):
        raise KeyboardInterrupt

    __repr__ = __reduce__ = __str__


class Refusing(type):
    def __getattribute__(cls, name):
        raise SystemExit(name)


class OpaqueError(Exception, metaclass=Refusing):
    pass


class Explosive:
    """A value that cannot be serialized, and does not say so politely."""

    def __reduce__(self):
        raise KeyboardInterrupt


class Deceitful:
    def __getattr__(self, name):
        raise SystemExit(name)


class Mined:
    """An argument that ends whoever unpickles it."""

    def __reduce__(self):
        return sys.exit, ("unpickled",)


def raised(exc):
    raise exc


# ------------------------------------------------------------- in the event loop


async def base_exception():
    raise TimedOut


async def keyboard_interrupt():
    raise KeyboardInterrupt


async def system_exit():
    sys.exit(0)


async def generator_exit():
    raise GeneratorExit


async def stop_iteration():
    raise StopIteration


async def unspeakable():
    raise Unspeakable


async def opaque():
    raise OpaqueError


async def explosive():
    return Explosive()


async def deceitful():
    raise ValueError(Deceitful())


async def base_group():
    raise BaseExceptionGroup("several", [TimedOut(), KeyboardInterrupt(), ValueError("x")])


async def asyncio_cancelled_error():
    raise asyncio.CancelledError


async def cancellation_kept():
    """Carry the cancellation of a scope of its own out of that scope."""
    kept = None
    with anyio.CancelScope() as scope:
        scope.cancel()
        try:
            await anyio.sleep(30)
        except anyio.get_cancelled_exc_class() as exc:
            kept = exc
            raise
    raise kept


async def group_of_cancellations():
    try:
        await cancellation_kept()
    except BaseException as exc:  # noqa: BLE001 - whichever the event loop has
        raise BaseExceptionGroup("cancelled", [exc]) from None  # noqa: ASYNC104


async def task_group():
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.sleep, 30)
        tasks.start_soon(base_exception)


async def asyncio_task_group():
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(asyncio.sleep(30))
        tasks.create_task(base_exception())


async def awaits_what_was_cancelled():
    sleeping = asyncio.ensure_future(asyncio.sleep(30))
    sleeping.cancel()
    await sleeping


async def cancels_its_task():
    asyncio.current_task().cancel()
    await asyncio.sleep(30)


async def cancels_its_task_and_returns():
    asyncio.current_task().cancel()
    return "returned"


async def takes_its_cancellation_back():
    asyncio.current_task().cancel()
    asyncio.current_task().uncancel()
    return "returned"


async def swallows_its_cancellation():
    asyncio.current_task().cancel()
    try:
        await asyncio.sleep(30)
    except asyncio.CancelledError:  # noqa: ASYNC103
        return "returned"  # noqa: ASYNC104


async def leaves_a_scope_open():
    anyio.CancelScope().__enter__()
    return "returned"


async def leaves_a_shield_open():
    anyio.CancelScope(shield=True).__enter__()
    return "returned"


async def leaves_a_cancelled_scope_open():
    scope = anyio.CancelScope()
    scope.__enter__()
    scope.cancel()
    return "returned"


async def leaves_a_timeout_open():
    stack = AsyncExitStack()
    stack.enter_context(anyio.move_on_after(0.05))  # noqa: ASYNC122
    return "returned"


async def raises_with_a_scope_open():
    anyio.CancelScope().__enter__()
    raise TimedOut


# ---------------------------------------------------------------- in a thread


def in_a_thread(kind):
    raise {
        "base": TimedOut,
        "keyboard": KeyboardInterrupt,
        "exit": SystemExit,
        "generator": GeneratorExit,
        "cancelled": asyncio.CancelledError,
        "unspeakable": Unspeakable,
        "group": BaseExceptionGroup("several", [TimedOut(), asyncio.CancelledError()]),
    }[kind]


def stop_iteration_in_a_thread():
    raise StopIteration


def a_loop_that_was_cancelled():
    async def main():
        asyncio.current_task().cancel()
        await asyncio.sleep(30)

    asyncio.run(main())


def a_value_with_a_mind_of_its_own():
    return Explosive()


def an_async_function_behind_a_sync_one():
    return keyboard_interrupt()


class Way(NamedTuple):
    """A way to leave.

    ``ends`` is the value, or an exception whose name the failure bears; ``on`` the only event loop
    it makes sense on.
    """

    function: object
    ends: object
    args: tuple = ()
    on: str = ""


WAYS = [
    Way(base_exception, TimedOut),
    Way(keyboard_interrupt, KeyboardInterrupt),
    Way(system_exit, SystemExit),
    Way(generator_exit, GeneratorExit),
    Way(stop_iteration, RuntimeError),
    Way(unspeakable, Unspeakable),
    Way(opaque, "OpaqueError"),
    Way(explosive, KeyboardInterrupt),
    Way(deceitful, ValueError),
    Way(base_group, BaseExceptionGroup),
    Way(asyncio_cancelled_error, asyncio.CancelledError),
    Way(cancellation_kept, "Cancelled"),
    Way(group_of_cancellations, BaseExceptionGroup),
    Way(task_group, BaseExceptionGroup),
    Way(asyncio_task_group, BaseExceptionGroup, on="asyncio"),
    Way(awaits_what_was_cancelled, asyncio.CancelledError, on="asyncio"),
    Way(cancels_its_task, asyncio.CancelledError, on="asyncio"),
    Way(cancels_its_task_and_returns, "returned", on="asyncio"),
    Way(takes_its_cancellation_back, "returned", on="asyncio"),
    Way(swallows_its_cancellation, "returned", on="asyncio"),
    Way(leaves_a_scope_open, "returned"),
    Way(leaves_a_shield_open, "returned"),
    Way(leaves_a_cancelled_scope_open, "returned"),
    Way(leaves_a_timeout_open, "returned"),
    Way(raises_with_a_scope_open, TimedOut),
    Way(in_a_thread, TimedOut, ("base",)),
    Way(in_a_thread, KeyboardInterrupt, ("keyboard",)),
    Way(in_a_thread, SystemExit, ("exit",)),
    Way(in_a_thread, GeneratorExit, ("generator",)),
    Way(in_a_thread, asyncio.CancelledError, ("cancelled",)),
    Way(in_a_thread, Unspeakable, ("unspeakable",)),
    Way(in_a_thread, BaseExceptionGroup, ("group",)),
    Way(stop_iteration_in_a_thread, RuntimeError),
    Way(a_loop_that_was_cancelled, asyncio.CancelledError),
    Way(a_value_with_a_mind_of_its_own, KeyboardInterrupt),
    Way(an_async_function_behind_a_sync_one, KeyboardInterrupt),
    Way(raised, SystemExit, (Mined(),)),
]
