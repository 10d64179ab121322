"""New files that match the exclude list are in no commit, pinned state or patch, and are named."""

import pytest

from relay_core.settings import Settings
from relay_workers.git.port import ExcludedPath
from tests.support.git_bench import Workspace, git, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def changed(workspace: Workspace, commit: str | None) -> list[str]:
    return git(workspace.clone, "show", "--format=", "--name-status", str(commit)).split()


def test_caches_are_left_out_and_named_with_their_pattern(workspace):
    write(workspace.clone / "new.py")
    write(workspace.clone / "src/__pycache__/a.cpython-311.pyc")
    write(workspace.clone / "node_modules/left/index.js")
    write(workspace.clone / ".venv/bin/python")
    write(workspace.clone / "odd\nname.swp")
    write(workspace.clone / "notes.txt~")

    state = workspace.after("work")

    assert state.problem is None
    assert (state.dirty, state.summary["untracked"]) == (False, 1)
    assert changed(workspace, state.committed) == ["A", "new.py"]
    assert set(state.excluded) == {
        ExcludedPath(".venv/", ".venv/"),
        ExcludedPath("node_modules/", "node_modules/"),
        ExcludedPath("notes.txt~", "*~"),
        ExcludedPath("odd\nname.swp", "*.swp"),
        ExcludedPath("src/__pycache__/", "__pycache__/"),
    }
    assert state.excluded_count == 5
    assert (workspace.clone / "node_modules/left/index.js").exists()


def test_a_tracked_file_is_never_left_out(bench, remote):
    remote.commit({"node_modules/kept/index.js": "1\n", ".idea/x.xml": "<a/>\n"})
    workspace = bench.clone(remote.url)
    write(workspace.clone / "node_modules/kept/index.js", "2\n")
    (workspace.clone / ".idea/x.xml").unlink()
    write(workspace.clone / "node_modules/kept/new.js")

    state = workspace.after("work")

    assert changed(workspace, state.committed) == ["D", ".idea/x.xml", "M", "node_modules/kept/index.js"]
    assert [path.pattern for path in state.excluded] == ["node_modules/"]


def test_the_repository_s_own_gitignore_decides_first_and_is_not_reported(workspace):
    write(workspace.clone / ".gitignore", "!venv/\n__pycache__/\n")
    write(workspace.clone / "venv/readme")
    write(workspace.clone / "__pycache__/x.pyc")

    state = workspace.after("work")

    assert changed(workspace, state.committed) == ["A", ".gitignore", "A", "venv/readme"]
    assert (state.excluded, state.excluded_count) == ((), 0)


def test_a_setting_replaces_the_list(bench, remote):
    others = bench.with_settings(auto_commit_excludes=("*.tmp", "/build/")).clone(remote.url)
    for name in ("a.tmp", "build/out", "sub/build/in", "x.pyc"):
        write(others.clone / name)
    state = others.after("work")
    assert [path.pattern for path in state.excluded] == ["*.tmp", "/build/"]
    assert changed(others, state.committed) == ["A", "sub/build/in", "A", "x.pyc"]

    nothing = bench.with_settings(auto_commit_excludes=("none",)).clone(remote.url)
    write(nothing.clone / "x.pyc")
    assert nothing.after("work").excluded == ()


def test_what_the_agent_itself_commits_is_kept(workspace):
    write(workspace.clone / "x.pyc")
    git(workspace.clone, "add", "-A")
    git(workspace.clone, "commit", "-qm", "the agent's own")

    state = workspace.after("work")

    assert state.pinned_commit == git(workspace.clone, "rev-parse", "HEAD")
    assert state.excluded == ()


def test_the_default_list_survives_the_environment(monkeypatch):
    default = Settings().excludes
    monkeypatch.setenv("RELAY_AUTO_COMMIT_EXCLUDES", ",".join(default))
    assert Settings().excludes == default
    assert {"__pycache__/", "node_modules/", ".venv/"} < set(default)


def test_all_left_out_files_are_counted_and_a_hundred_are_named(workspace):
    for number in range(301):
        write(workspace.clone / f"many/{number}.pyc")

    state = workspace.after("work")

    assert (len(state.excluded), state.excluded_count) == (100, 301)
