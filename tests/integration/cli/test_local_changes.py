"""Uncommitted work as a commit, made beside the work tree, index, HEAD and branches of a real repository."""

import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from relay_cli.errors import CommandFailed
from relay_cli.local_changes import commit_changes, local_root, started_from_changes
from relay_cli.old_changes import REFS, SETTING, prune
from tests.support.git_bench import Remote, git


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    path = tmp_path / "app"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    git(path, "config", "user.name", "Ann")
    git(path, "config", "user.email", "ann@example.org")
    Remote(path).commit({"README": "hello\n", "gone": "x\n", ".gitignore": "*.log\n", "sub/deep": "1\n"})
    return path


def changed(repo: Path) -> None:
    (repo / "README").write_text("changed\n")
    (repo / "staged").write_text("staged\n")
    git(repo, "add", "staged")
    (repo / "staged").write_text("staged, then changed\n")
    (repo / "gone").unlink()
    (repo / "new").write_text("new\n")
    (repo / "ignored.log").write_text("secret\n")


def untouched(repo: Path) -> dict[str, object]:
    """Everything of a repository that must stay as it is; objects and refs/relay may grow."""
    files = [path for path in repo.rglob("*") if path.is_file() and ".git" not in path.relative_to(repo).parts]
    of_git = [path for path in (repo / ".git").rglob("*") if path.is_file() and "objects" not in path.parts]
    own = [path for path in of_git if "relay" not in path.relative_to(repo).parts]
    return {
        "files": {path: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_mode) for path in files},
        "git": {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in own},
        "status": git(repo, "--no-optional-locks", "status", "--porcelain", "--ignored"),
    }


def test_everything_but_ignored_files_is_in_the_commit_and_nothing_else_is_touched(repo):
    changed(repo)
    before = untouched(repo)

    sent = commit_changes(repo)

    assert untouched(repo) == before
    assert sent is not None
    assert (sent.files, sent.notes) == (4, ())
    assert git(repo, "rev-parse", sent.ref) == sent.commit
    assert sent.ref.startswith("refs/relay/changes/")
    assert git(repo, "rev-parse", f"{sent.commit}^") == git(repo, "rev-parse", "HEAD")
    status = git(repo, "diff", "--name-status", "--no-renames", "HEAD", sent.commit).split()
    assert status == ["M", "README", "D", "gone", "A", "new", "A", "staged"]
    assert git(repo, "show", f"{sent.commit}:staged") == "staged, then changed"
    assert git(repo, "log", "-1", "--format=%an|%s", sent.commit) == "Ann|Uncommitted work on main"


def test_the_same_work_is_the_same_commit(repo, monkeypatch):
    changed(repo)
    first = commit_changes(repo)
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2030-01-02T03:04:05Z")  # much later
    assert commit_changes(repo) == first
    (repo / "new").write_text("newer\n")
    other = commit_changes(repo)
    assert other is not None
    assert first is not None
    assert other.ref != first.ref


def test_a_clean_work_tree_needs_no_commit(repo):
    (repo / "ignored.log").write_text("x\n")
    assert commit_changes(repo) is None
    assert git(repo, "for-each-ref", "refs/relay") == ""


def test_modes_links_and_names_are_kept(repo):
    (repo / "run").write_text("#!/bin/sh\n")
    (repo / "run").chmod(0o755)
    (repo / "link").symlink_to("README")
    (repo / "ünï\tnew\nline").write_text("x\n")
    (repo / "logo").write_bytes(bytes(range(256)))
    sent = commit_changes(repo)
    assert sent is not None
    listed = git(repo, "ls-tree", "-r", "-z", sent.commit)
    assert {"100755", "120000"} < {entry.split()[0] for entry in listed.split("\0") if entry}
    assert "ünï\tnew\nline" in listed


def test_a_repository_without_an_author_is_served_and_no_hook_runs(repo, monkeypatch):
    git(repo, "config", "--unset", "user.name")
    git(repo, "config", "--unset", "user.email")
    git(repo, "config", "user.useConfigOnly", "true")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for name in ("reference-transaction", "post-index-change", "pre-commit"):
        hook = repo / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {repo}/hooked\n")
        hook.chmod(0o755)
    (repo / "new").write_text("x\n")
    sent = commit_changes(repo)
    assert sent is not None
    assert git(repo, "log", "-1", "--format=%an", sent.commit) == "Relay"
    assert not (repo / "hooked").exists()


def test_it_works_in_a_linked_work_tree_and_on_a_detached_head(repo, tmp_path):
    linked = tmp_path / "linked"
    git(repo, "worktree", "add", "-q", "--detach", str(linked))
    (linked / "new").write_text("x\n")
    before = git(repo, "--no-optional-locks", "status", "--porcelain")
    sent = commit_changes(local_root(str(linked)))
    assert sent is not None
    assert git(repo, "rev-parse", sent.ref) == sent.commit
    assert git(repo, "--no-optional-locks", "status", "--porcelain") == before


def test_submodules_and_files_of_lfs_are_told(repo, tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    git(inner, "init", "-q", "-b", "main")
    Remote(inner).commit({"file": "1\n"})
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "lib")
    git(repo, "config", "filter.lfs.clean", "cat")
    git(repo, "commit", "-qm", "submodule")
    (repo / "lib/file").write_text("2\n")
    git(repo, "init", "-q", "own")
    Remote(repo / "own").commit({"x": "1\n"})
    (repo / ".gitattributes").write_text("*.bin filter=lfs\n")
    (repo / "big.bin").write_bytes(b"big")
    sent = commit_changes(repo)
    assert sent is not None
    assert sent.notes == (
        "sent as a commit id only, without files: own (a submodule, or a repository of its own)",
        "not sent: uncommitted work in the submodule lib",
        "sent as pointers of Git LFS, as the workspace has them: big.bin",
    )


def test_a_merge_with_conflicts_is_refused(repo):
    git(repo, "checkout", "-qb", "side")
    Remote(repo).commit({"README": "side\n"})
    git(repo, "checkout", "-q", "main")
    Remote(repo).commit({"README": "main\n"})
    merge = subprocess.run(("git", "merge", "-q", "side"), cwd=repo, capture_output=True, check=False)
    assert merge.returncode == 1
    before = untouched(repo)
    with pytest.raises(CommandFailed, match="has files with conflicts"):
        commit_changes(repo)
    assert untouched(repo) == before


def test_a_request_starts_from_the_changes_of_each_repository(repo, tmp_path, capsys):
    changed(repo)
    clean = tmp_path / "clean one"
    git(tmp_path, "clone", "-q", str(repo), str(clean))
    urls = [f"file://{repo}", f"file://{tmp_path}/clean%20one"]
    sent, unchanged = started_from_changes([{"url": urls[0], "target_branch": "main"}, {"url": urls[1]}])
    assert (sent["url"], sent["target_branch"]) == (urls[0], "main")
    assert git(repo, "rev-parse", f"{sent['ref']}^") == git(repo, "rev-parse", "HEAD")
    assert unchanged == {"url": urls[1], "ref": git(clean, "rev-parse", "HEAD")}
    assert f"sent 4 uncommitted files of {repo} along, as {sent['ref']}" in capsys.readouterr().err
    with pytest.raises(CommandFailed, match="--ref"):
        started_from_changes([{"url": urls[0], "ref": "v1"}])


def test_only_a_repository_with_a_work_tree_on_this_machine_has_uncommitted_work(repo, tmp_path):
    assert local_root(str(repo / "sub")) == repo
    assert local_root(f"file://{repo}") == repo
    bare = tmp_path / "bare.git"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    empty = tmp_path / "empty"
    git(tmp_path, "init", "-q", str(empty))
    for place, words in (
        ("https://example.org/a.git", "is a URL"),
        (str(tmp_path), "is no repository"),
        (str(tmp_path / "nowhere"), "is no repository"),
        (str(bare), "is a bare repository"),
    ):
        with pytest.raises(CommandFailed, match=words) as error:
            local_root(place)
        assert error.value.exit_code == 2
    with pytest.raises(CommandFailed, match="has no commit yet"):
        commit_changes(empty)


def sent_before(repo: Path, name: str, days: int) -> str:
    """The ref of a commit that was made some days ago."""
    moment = f"{int(time.time()) - days * 86400 - 60} +0000"
    env = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), moment)
    tree = git(repo, "rev-parse", "HEAD^{tree}")
    made = ("git", "-C", repo, "commit-tree", tree, "-p", "HEAD", "-m", "sent")
    commit = subprocess.run(made, env={**os.environ, **env}, check=True, capture_output=True, text=True).stdout.strip()
    git(repo, "update-ref", f"{REFS}/{name}", commit)
    return f"{REFS}/{name}"


def refs(repo: Path) -> list[str]:
    return git(repo, "for-each-ref", "--format=%(refname)").split()


def test_sending_removes_what_was_sent_long_ago(repo, capsys):
    sent_before(repo, "a", 31)
    younger = sent_before(repo, "b", 29)
    git(repo, "update-ref", "refs/relay/other", "HEAD")
    changed(repo)
    [sent] = started_from_changes([{"url": str(repo)}])
    assert refs(repo) == sorted(["refs/heads/main", younger, sent["ref"], "refs/relay/other"])
    assert "removed 1 old ref below refs/relay/changes" in capsys.readouterr().err


def test_the_repository_says_for_how_many_days_refs_are_kept(repo):
    old, older = sent_before(repo, "a", 3), sent_before(repo, "b", 400)
    git(repo, "config", SETTING, "0")
    assert prune(repo) == 0
    git(repo, "config", SETTING, "100")
    assert (prune(repo), refs(repo)) == (1, ["refs/heads/main", old])
    git(repo, "config", SETTING, "2")
    assert (prune(repo), refs(repo), older in refs(repo)) == (1, ["refs/heads/main"], False)
    git(repo, "config", SETTING, "soon")
    with pytest.raises(CommandFailed, match=f"{SETTING} of git .* is 'soon'; write a number of days"):
        prune(repo)
