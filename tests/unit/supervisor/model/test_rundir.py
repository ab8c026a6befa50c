"""Where a running supervisor leaves its files, and how others find them."""

from __future__ import annotations

from naq.supervisor.model.rundir import RunDir


def test_a_run_directory_is_found_from_below(tmp_path):
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert RunDir.find(below) is None
    RunDir.of(tmp_path).create()
    assert RunDir.find(below) == RunDir.of(tmp_path)


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/7")
    deep = tmp_path / ("x" * 100)
    run_dir = RunDir.of(deep)
    assert run_dir.path == deep / ".naq" / "run"
    assert str(run_dir.socket).startswith("/run/user/7/naq-")
    assert RunDir.of(deep) == run_dir
