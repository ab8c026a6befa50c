"""How a topology was asked for, so that it can be read again: the file and what overrides it."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from naq.base.imports import here
from naq.exceptions import ConfigurationError
from naq.supervisor.config import read as config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from naq.supervisor.kinds.kind import Kinds
    from naq.supervisor.kinds.topology import Topology

__all__ = ["Recipe", "setting"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What ``naq up`` was asked to run.

    Attributes:
        file: the supervisor file, absolute; None: ``document``.
        document: what to run where there is no file.
        settings: paths of keys and values that are laid over the file.
        env_files: more files with variables for the whole project.
        profiles: active ones, instead of those in the file.
        services: only these.
        dependencies: also what they depend on.
    """

    file: Path | None
    document: Mapping[str, Any] = field(default_factory=dict)
    settings: tuple[tuple[tuple[str, ...], Any], ...] = ()
    env_files: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    dependencies: bool = True

    def read(self, kinds: Kinds, directory: Path) -> Topology:
        """Read the topology.

        Args:
            kinds: what ``type`` may name.
            directory: of a project without a file.

        Raises:
            ConfigurationError: the file has problems.
            SupervisorError: there is no such service or profile.
        """
        document = (
            deepcopy(dict(self.document)) if self.file is None else config.read(self._shown())
        )
        for path, value in self.settings:
            _lay(document, path, value)
        if self.env_files:
            project = document.setdefault("project", {})
            if isinstance(project, dict):
                project["env_file"] = [*project.get("env_file", ()), *self.env_files]
        topology = config.parse(
            document,
            kinds=kinds,
            directory=directory if self.file is None else self.file.parent,
            file="built-in topology" if self.file is None else str(self._shown()),
            profiles=self.profiles,
        )
        return config.select(topology, self.services, dependencies=self.dependencies)

    def _shown(self) -> Path:
        assert self.file is not None, "asked only where there is one"
        directory = here()
        if directory is None or not self.file.is_relative_to(directory):
            return self.file
        return self.file.relative_to(directory)


def setting(text: str) -> tuple[tuple[str, ...], Any]:
    """Read ``services.web.replicas=2``: a path of keys and a value as TOML, or else a text.

    Raises:
        ConfigurationError: it has no ``=`` or no key.
    """
    path, found, raw = text.partition("=")
    keys = tuple(part.strip() for part in path.split("."))
    if not found or not all(keys):
        raise ConfigurationError(
            f"--set {text}: expected KEY=VALUE, such as services.web.replicas=2"
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw
    return keys, value


def _lay(document: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    table = document
    for key in path[:-1]:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            raise ConfigurationError(f"--set {'.'.join(path)}: {key} is not a table")
        table = inner
    table[path[-1]] = value
