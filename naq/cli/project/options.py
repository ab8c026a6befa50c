"""What the commands about a project share: its file, common options, what they print."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from naq.base.exits import Exit
from naq.base.imports import here
from naq.cli import common, render
from naq.exceptions import ConfigurationError, EnvironmentProblemError, SupervisorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from naq.supervisor.config.recipe import Recipe
    from naq.supervisor.kinds.topology import Topology

__all__ = [
    "DEFAULT_FILE",
    "Duration",
    "Json",
    "Profiles",
    "assignments",
    "bad_file",
    "read",
    "recipe",
    "report",
]

DEFAULT_FILE = Path("supervisor.toml")

Json = Annotated[bool, Parameter(name="--json", negative=())]
Duration = Annotated[common.Duration | None, Parameter(name=["--timeout", "-t"])]
Profiles = Annotated[tuple[str, ...], Parameter(name=["--profile", "-p"])]


def recipe(file: Path = DEFAULT_FILE, **how: Any) -> Recipe:
    """Return how to read the topology of ``file``, or the built-in one where there is no file.

    Args:
        file: a supervisor file.
        how: other fields of the recipe.
    """
    from naq.services import DEFAULT_TOPOLOGY
    from naq.supervisor.config.recipe import Recipe

    if file == DEFAULT_FILE and not file.exists():
        return Recipe(file=None, document=DEFAULT_TOPOLOGY, **how)
    return Recipe(file=file.resolve(), **how)


def read(how: Recipe) -> Topology:
    """Read a topology.

    Raises:
        EnvironmentProblemError: it has problems, exit code 78.
    """
    from naq.services import KINDS

    with bad_file():
        directory = here()
        if directory is None:
            raise ConfigurationError(
                "the current directory has been deleted; change to the project's"
            )
        return how.read(KINDS, directory)


@contextmanager
def bad_file() -> Iterator[None]:
    """Turn a configuration error inside, which a file causes, from exit code 2 into 78."""
    try:
        yield
    except ConfigurationError as exc:
        raise EnvironmentProblemError(*exc.problems) from exc


def report(outcome: dict[str, str]) -> int:
    """Print the problem of each service that has one; return the exit code."""
    for name, problem in outcome.items():
        render.line(f"{name}: {problem}" if name else problem)
    return Exit.FAILED if outcome else Exit.DONE


def assignments(words: Sequence[str]) -> dict[str, int]:
    """Return the numbers of words such as ``web=2``, by name.

    Raises:
        SupervisorError: a word has another form, exit code 2.
    """
    numbers: dict[str, int] = {}
    for word in words:
        name, _, number = word.partition("=")
        if not name or not number.isdecimal():
            raise SupervisorError(
                f"{word!r}: expected SERVICE=NUMBER, such as web=2", exit_code=Exit.USAGE
            )
        numbers[name] = int(number)
    return numbers
