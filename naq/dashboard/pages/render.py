"""Turns pages into HTML, whole or only their live parts."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, select_autoescape

from naq.base.version import __version__
from naq.dashboard.pages import format as values
from naq.dashboard.pages.charts import chart
from naq.dashboard.pages.pages import NAV

if TYPE_CHECKING:
    from naq.dashboard.auth import Visitor
    from naq.dashboard.pages.pages import Shown
    from naq.dashboard.state import State

__all__ = ["Renderer"]


def environment() -> Environment:
    """Return the environment of the templates; every value in them is escaped."""
    env = Environment(
        loader=PackageLoader("naq.dashboard"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    values.register(env)
    env.globals["chart"] = chart
    return env


class Renderer:
    """Renders pages, and the live parts of pages."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._env = environment()
        self.placeholder = secrets.token_hex(16)
        """Stands for the token of forms in parts, which all visitors share."""

    def page(self, found: Shown, visitor: Visitor | None, path: str, said: str = "") -> str:
        """Return a page as HTML; ``said`` is the outcome of the action before it."""
        context = {**self._context(found, visitor, path), "said": said}
        return self._env.get_template(found.template).render(context)

    def parts(self, found: Shown, path: str) -> dict[str, str]:
        """Return the live parts of a page, by the name of their block.

        They are the same for all visitors, except for the token of forms, for which
        :attr:`placeholder` stands.
        """
        template = self._env.get_template(found.template)
        # "live" leaves relative times to the browser; or else parts would differ at every look.
        context = template.new_context({**self._context(found, None, path), "live": True})
        return {
            name: "".join(block(context)).strip()
            for name, block in template.blocks.items()
            if name.startswith("live_")
        }

    def _context(self, found: Shown, visitor: Visitor | None, path: str) -> dict[str, Any]:
        state = self._state
        return {
            "page": found.page,
            "nav": NAV,
            "csrf": self.placeholder if visitor is None else visitor.csrf or "",
            "readonly": state.readonly,
            "problem": state.link.problem,
            "project": state.project,
            "version": __version__,
            "user": visitor.shown if visitor else None,
            "now": time.time(),
            "path": path,
            **found.context,
        }
