"""Where modules are imported from, how naq's own programs start, and a directory that is gone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from naq.base import imports
from naq.base.imports import PYTHON, here, let_import
from naq.exceptions import SupervisorError
from naq.nats.locate import locate, place
from naq.settings import Settings
from naq.supervisor.control.client import connect

ROOT = Path(imports.__file__).parents[1]


@pytest.fixture
def gone(tmp_path, monkeypatch):
    """A current directory that does not exist any more."""
    release = tmp_path / "release"
    release.mkdir()
    monkeypatch.chdir(release)
    release.rmdir()


def test_the_project_comes_behind_pythons_library_and_before_what_is_installed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "path", list(sys.path))
    let_import(tmp_path)
    let_import(tmp_path)

    assert sys.path.count(str(tmp_path)) == 1
    place = sys.path.index(str(tmp_path))
    assert sys.path.index(os.path.dirname(os.__file__)) < place  # noqa: PTH120
    assert all("site-packages" not in path for path in sys.path[:place] if "python" in path)


@pytest.mark.parametrize("name", ["naq", "queue", "types", "signal", "random", "anyio_", "json"])
def test_a_file_of_the_project_is_not_run_instead(tmp_path, name):
    (tmp_path / f"{name}.py").write_text("open('RAN', 'w').close()")
    (tmp_path / "tasks.py").write_text("")
    code = (
        "from naq.base.imports import let_import; let_import()\n"
        "import concurrent.futures.thread, json, random, signal, tasks, naq.worker.worker"
    )

    subprocess.run([*PYTHON, "-c", code], cwd=tmp_path, check=True)
    done = subprocess.run(
        [*PYTHON, "-m", "naq", "--version"], cwd=tmp_path, check=True, capture_output=True
    )

    assert done.stdout.startswith(b"naq ")
    assert not (tmp_path / "RAN").exists()


def test_every_program_of_naqs_own_is_started_that_way():
    """A kind, not an instance: whoever starts Python must say that it starts safely."""
    starts = re.compile(r"sys\.executable,(.{0,40})", re.DOTALL)
    for file in ROOT.rglob("*.py"):
        if file.name == "imports.py":
            continue
        for after in starts.findall(file.read_text()):
            assert re.match(r'\s*"-(I|P)"', after), f"{file}: {after!r}"


def test_a_deleted_directory_is_no_reason_to_fail(gone):
    assert here() is None
    let_import()
    assert locate(None, Settings()).source == "the default"
    assert place(None)[-1] is None
    with pytest.raises(SupervisorError, match="has been deleted"), connect():
        pass


@pytest.mark.parametrize("name", ["NAQ_NATS_URL", "NAQ_NATS_CONTEXT"])
def test_the_directory_matters_only_where_nothing_else_is_given(tmp_path, monkeypatch, name):
    found = []
    for given in (None, "elsewhere"):
        if given:
            monkeypatch.setenv(name, given)
        places = set()
        for directory in ("a", "b"):
            (tmp_path / directory).mkdir(exist_ok=True)
            monkeypatch.chdir(tmp_path / directory)
            places.add(place(None))
        found.append(len(places))
    assert found == [2, 1]
    assert place("nats://x") == place("nats://x")
