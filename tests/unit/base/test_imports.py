"""Where modules are imported from, how naq's own programs start, and a directory that is gone."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from naq.base import imports
from naq.base.imports import PYTHON, here, let_import, when_imported
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


class TestWhenImported:
    """A function that is to be called with a module of somebody else's."""

    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        """The name of a module that can be imported and has not been."""
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
        (tmp_path / "somebodys.py").write_text("VALUE = 1\ndef function(): ...\n")
        yield "somebodys"
        sys.modules.pop("somebodys", None)

    def test_it_is_called_now_if_the_module_is_there(self, module):
        there, told = importlib.import_module(module), []
        when_imported(module, told.append)
        assert told == [there]

    def test_it_is_called_once_when_the_module_has_been_executed(self, module):
        told, finders = [], list(sys.meta_path)
        when_imported(module, lambda found: told.append((found, found.VALUE)))
        import json  # noqa: F401 - another module is none of its business

        assert told == []
        found = importlib.import_module(module)
        assert told == [(found, 1)]
        assert sys.meta_path == finders
        importlib.reload(found)
        assert told == [(found, 1)]

    def test_looking_for_the_module_is_not_importing_it(self, module):
        told = []
        when_imported(module, told.append)
        assert importlib.util.find_spec(module) is not None
        assert told == []
        found = importlib.import_module(module)
        assert told == [found]

    def test_a_module_that_is_not_there_may_come_later(self, module, tmp_path):
        told = []
        when_imported("nowhere", told.append)
        with pytest.raises(ModuleNotFoundError, match="nowhere"):
            importlib.import_module("nowhere")
        (tmp_path / "nowhere.py").touch()
        importlib.invalidate_caches()
        try:
            found = importlib.import_module("nowhere")
            assert told == [found]
        finally:
            sys.modules.pop("nowhere", None)

    def test_the_module_is_like_any_other(self, module, tmp_path):
        when_imported(module, lambda _: None)
        found = importlib.import_module(module)
        assert inspect.getsource(found.function) == "def function(): ...\n"
        assert found.__file__ == found.__spec__.origin == str(tmp_path / "somebodys.py")
