"""What is read: a file, and changes to it from the command line."""

from __future__ import annotations

import pytest

from naq.exceptions import ConfigurationError
from naq.services import KINDS
from naq.supervisor.config.recipe import Recipe, setting

PROFILES = """
[services.always]
command = "x"
[services.io]
command = "x"
profiles = ["default", "io"]
[services.dev]
command = "x"
profiles = ["dev"]
depends_on = ["tool"]
[services.tool]
command = "x"
profiles = ["tools"]
[services.off]
command = "x"
disabled = true
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("services.web.replicas=2", (("services", "web", "replicas"), 2)),
        ("a.b='x=y'", (("a", "b"), "x=y")),
        ("a.b=plain text", (("a", "b"), "plain text")),
        ("a=[1, 2]", (("a",), [1, 2])),
        ("a=", (("a",), "")),
    ],
)
def test_settings(text, expected):
    assert setting(text) == expected


@pytest.mark.parametrize("text", ["", "x", "=1", "a..b=1"])
def test_what_is_no_setting(text):
    with pytest.raises(ConfigurationError, match="expected KEY=VALUE"):
        setting(text)


def test_a_recipe_lays_settings_over_the_file(tmp_path):
    file = tmp_path / "supervisor.toml"
    file.write_text(PROFILES)
    (tmp_path / "more.env").write_text("A=1\n")
    recipe = Recipe(
        file=file,
        settings=(setting("services.always.replicas=3"), setting("project.name=other")),
        env_files=("more.env",),
        profiles=("dev",),
        services=("dev",),
    )
    topology = recipe.read(KINDS, tmp_path)
    assert topology.name == "other"
    assert topology.services["always"].replicas == 3
    assert topology.env_file == ("more.env",)
    assert topology.active == {"dev", "tool"}
    bad = Recipe(file=file, settings=(setting("services.always.command.x=3"),))
    with pytest.raises(ConfigurationError, match="command is not a table"):
        bad.read(KINDS, tmp_path)
