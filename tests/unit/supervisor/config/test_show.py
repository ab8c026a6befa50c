"""A topology as JSON, as a schema, as a drawing."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from naq.services import KINDS
from naq.supervisor.config import read as config
from naq.supervisor.config.show import FORMATS, chain, draw, resolved, schema

HERE = Path("/srv/shop")


def parse(toml: str, **more):
    document = tomllib.loads(toml)
    return config.parse(document, kinds=KINDS, directory=HERE, file="s.toml", **more)


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


@pytest.fixture(scope="module")
def validator():
    described = schema(KINDS)
    jsonschema.Draft202012Validator.check_schema(described)
    assert json.loads(json.dumps(described)) == described
    return jsonschema.Draft202012Validator(described)


ROOT = Path(__file__).parents[4]


SHOWN = "".join((ROOT / name).read_text() for name in ("docs/supervisor.md", "README.md"))


# Whole tables, perhaps below the name of a file; a block that begins with a key is a piece of one.
EXAMPLES = re.findall(
    r"^```toml\n((?:# file: .*?\n)?(?:version|\[).*?)^```", SHOWN, re.MULTILINE | re.DOTALL
)


EXAMPLES = [text for text in EXAMPLES if "[services." in text]


@pytest.mark.parametrize("toml", [PROFILES, (ROOT / "supervisor.toml").read_text(), *EXAMPLES])
def test_the_schema_takes_what_is_shown_to_people(validator, toml):
    assert [error.message for error in validator.iter_errors(tomllib.loads(toml))] == []


@pytest.mark.parametrize(
    "toml",
    [
        "[services.a]\nnope = 1",
        "[services.a]\ncommand = 'x'\nqueues = ['x']",
        "[services.a]\ntype = 'worker'\ncommand = 'x'",
        "[services.a]\ntype = 'nope'",
        "[services.a]\nextends = 'b'\nnope = 1\n[services.b]\ncommand = 'x'",
        "[services.a]\ncommand = 'x'\nrestart = { policy = 'sometimes' }",
        "[project]\nnope = 1\n[services.a]\ncommand = 'x'",
        "services = {}",
    ],
)
def test_the_schema_marks_what_is_wrong(validator, toml):
    assert list(validator.iter_errors(tomllib.loads(toml))) != []


def test_the_resolved_form_is_json():
    plain = json.loads(json.dumps(resolved(parse(PROFILES))))
    assert plain["active"] == ["always", "io"]
    assert plain["services"]["always"]["restart"]["backoff"]["initial"] == 0.5
    assert plain["services"]["always"]["stop_signal"] == "SIGTERM"


def test_drawings():
    topology = parse(PROFILES)
    assert draw(topology, "ascii", {"dev": 0.25}).splitlines() == [
        "always",
        "io",
        "tool",
        "└─ dev 250ms  [ready]",
        "off",
    ]
    assert "s3 -->|ready| s2" in draw(topology, "mermaid")
    assert '"tool" -> "dev" [label="ready"];' in draw(topology, "dot")
    assert json.loads(draw(topology, "json"))[2]["depends_on"] == [
        {"service": "tool", "condition": "ready"}
    ]
    assert set(FORMATS) == {"ascii", "mermaid", "dot", "json"}


def test_the_critical_chain_is_the_slowest_path():
    edges = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    assert chain(edges, {"a": 1.0, "b": 0.1, "c": 2.0, "d": 0.5}) == ["a", "c", "d"]
    assert chain({}, {}) == []
