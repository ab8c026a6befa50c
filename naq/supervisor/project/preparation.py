"""The kinds of a project: made once, told what is about to run, asked for what they export."""

from __future__ import annotations

from typing import TYPE_CHECKING

from naq.base.exits import Exit
from naq.exceptions import SupervisorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from naq.supervisor.kinds.kind import Kind, Kinds, Project
    from naq.supervisor.model.spec import ServiceSpec

__all__ = ["Preparation"]


class Preparation:
    """Kinds at work for one supervisor."""

    def __init__(self, kinds: Kinds, project: Project) -> None:
        self._kinds = kinds
        self._project = project
        self._made: dict[str, Kind] = {}
        self._exports: dict[str, Mapping[str, str]] = {}
        self._prepared: dict[str, object] = {}

    def kind(self, type_: str) -> Kind:
        """Return the object of a kind; there is one for each."""
        if type_ not in self._made:
            self._made[type_] = self._kinds[type_]()
        return self._made[type_]

    def last(self, services: Iterable[ServiceSpec]) -> list[str]:
        """Return the names of those that all others stand on, which are stopped last."""
        return [spec.name for spec in services if self.kind(spec.type).last]

    def prepare(self, services: Iterable[ServiceSpec]) -> None:
        """Let kinds get ready for those of ``services`` that they are not ready for yet.

        Raises:
            NaqException: they cannot run.
        """
        by_kind: dict[str, dict[str, ServiceSpec]] = {}
        for spec in services:
            if self._prepared.get(spec.name) != _essence(spec):
                by_kind.setdefault(spec.type, {})[spec.name] = spec
        for type_, fresh in by_kind.items():
            try:
                self.kind(type_).prepare(self._project, fresh)
            except OSError as exc:
                raise SupervisorError(f"type {type_}: {exc}", exit_code=Exit.INTERNAL) from exc
            for name, spec in fresh.items():
                self._prepared[name] = _essence(spec)
                self._exports[name] = self.kind(type_).exports(spec)

    def forget(self, name: str) -> None:
        """Take note that a service no longer exists: it exports nothing."""
        self._prepared.pop(name, None)
        self._exports.pop(name, None)

    def exports_to(self, name: str) -> Mapping[str, str]:
        """Return what all others export to the service ``name``."""
        merged: dict[str, str] = {}
        for exporter, exported in self._exports.items():
            if exporter != name:
                merged |= exported
        return merged


def _essence(spec: ServiceSpec) -> object:
    """Return what a kind gets ready for; everything else may change without it."""
    return spec.type, dict(spec.options), spec.port, spec.cwd
