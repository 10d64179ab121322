"""Merges and rebases of real clones into a real remote, and a hostile agent's clone that is merged."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.relay import Relay, git, relay_command

pytestmark = pytest.mark.docker


@pytest.fixture
def bare(repo: Path, tmp_path: Path) -> Path:
    """A remote without a work tree."""
    git("clone", "-q", "--bare", str(repo), str(tmp_path / "remote.git"), cwd=tmp_path)
    return tmp_path / "remote.git"


def worked(relay: Relay, remote: Path, command: str) -> dict[str, Any]:
    run = relay.submit(remote, command, limits={"kill_grace_seconds": 1})
    relay.wait_chain(run)
    return run


def ask(relay: Relay, run: dict[str, Any], verb: str, **body: Any) -> dict[str, Any]:
    answer = relay.http.post(f"/v1/workspaces/{run['workspace_id']}/{verb}", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def merged(relay: Relay, run: dict[str, Any], **body: Any) -> dict[str, Any]:
    asked = ask(relay, run, "merge", **body)
    relay.wait_end(asked["execution_id"])
    return dict(relay.get(f"/v1/merges/{asked['id']}"))


def others_push(bare: Path, tmp_path: Path, name: str, content: str) -> str:
    clone = tmp_path / f"other-{name}"
    git("clone", "-q", str(bare), str(clone), cwd=tmp_path)
    (clone / name).write_text(content)
    git("add", "-A", cwd=clone)
    git("commit", "-q", "-m", name, cwd=clone)
    git("push", "-q", "origin", "HEAD:main", cwd=clone)
    return git("rev-parse", "main", cwd=bare)


def test_work_is_squashed_into_the_target_and_the_task_is_done(relay: Relay, bare: Path):
    before = git("rev-parse", "main", cwd=bare)
    run = worked(relay, bare, "echo mine >mine.txt; mkdir -p sub; echo more >>README.md")
    found = merged(relay, run, message="Add mine")
    assert found["status"] == "merged", found["error_reason"]
    assert git("rev-list", f"{before}..main", cwd=bare) == found["merge_commit"]
    assert git("log", "-1", "--format=%s", "main", cwd=bare) == "Add mine"
    assert git("show", "main:mine.txt", cwd=bare) == "mine"
    assert relay.get(f"/v1/workspaces/{run['workspace_id']}")["task"]["status"] == "done"
    [state] = relay.get(f"/v1/executions/{found['execution_id']}")["repo_states"]
    assert state["merge_commit"] == found["merge_commit"]


def test_what_would_be_merged_is_told_after_the_workspace_is_gone_from_its_node(relay: Relay, bare: Path):
    run = worked(relay, bare, "echo mine >mine.txt; echo more >>README.md; git mv src/app.py src/main.py")
    relay.container(run).remove(force=True)
    [found] = relay.get(f"/v1/workspaces/{run['workspace_id']}/diff/files")["items"]
    told = {(file["path"], file["change"], file["insertions"], file["deletions"]) for file in found["files"]}
    assert told == {("mine.txt", "added", 1, 0), ("README.md", "modified", 1, 0), ("src/main.py", "renamed", 0, 0)}
    assert (found["target_branch"], found["complete"], found["stat"]["files"]) == ("main", True, 3)
    assert found["base_commit"] == git("rev-parse", "main", cwd=bare)


def test_a_conflict_changes_nothing_and_a_rebase_of_other_work_goes_on(relay: Relay, bare: Path, tmp_path: Path):
    run = worked(relay, bare, "echo mine >README.md")
    tip = others_push(bare, tmp_path, "README.md", "theirs\n")
    found = merged(relay, run)
    assert (found["status"], found["conflicts"]) == ("failed", ["README.md"])
    ended = relay.wait_end(ask(relay, run, "rebase")["id"])
    assert (ended["status"], ended["reason"]) == ("failed", "merge_conflict")
    assert "README.md" in ended["error_reason"]
    assert git("rev-parse", "main", cwd=bare) == tip
    other = worked(relay, bare, "echo other >other.txt")
    later = others_push(bare, tmp_path, "later.txt", "1\n")
    assert relay.wait_end(ask(relay, other, "rebase")["id"])["status"] == "completed"
    [repo] = relay.get(f"/v1/workspaces/{other['workspace_id']}")["repos"]
    assert repo["base_commit"] == later
    [diff] = relay.get(f"/v1/workspaces/{other['workspace_id']}/diff/files")["items"]
    assert [file["path"] for file in diff["files"]] == ["other.txt"], "the target's own changes are not the workspace's"
    assert merged(relay, other, method="merge")["status"] == "merged"
    assert len(git("rev-list", "--parents", "-n", "1", "main", cwd=bare).split()) == 3


def test_a_person_merges_with_the_command(relay: Relay, bare: Path):
    run = worked(relay, bare, "echo mine >mine.txt")
    seen = relay_command(relay, "merge", "preview", run["workspace_id"])
    assert "push: one commit with all changes to branch main" in seen.stdout
    done = relay_command(relay, "merge", "create", run["workspace_id"])
    assert done.returncode == 0, done.stderr
    listed = relay_command(relay, "merge", "list", "--workspace", run["workspace_id"])
    assert "merged" in listed.stdout
    assert "mine.txt" in relay_command(relay, "workspace", "files", run["workspace_id"]).stdout


@pytest.mark.parametrize(
    "plant",
    [
        "git config core.fsmonitor '{canary}'; git config core.alternateRefsCommand '{canary}'",
        "printf '#!/bin/sh\\n{canary}\\n' > hook; chmod +x hook; mkdir -p .git/hooks; for h in pre-merge-commit post-merge "
        "post-rewrite pre-rebase reference-transaction post-checkout pre-push; do cp hook .git/hooks/$h; done",
        "git config filter.evil.smudge '{canary}'; git config merge.evil.driver '{canary}'; "
        "echo '* filter=evil merge=evil' > .gitattributes",
        "mkdir -p .git/objects/info; echo /etc > .git/objects/info/alternates.new; "
        "cat .git/objects/info/alternates >> .git/objects/info/alternates.new; "
        "mv .git/objects/info/alternates.new .git/objects/info/alternates",
        "ln -s /etc/passwd passwd; ln -s / root; printf '[submodule \"x\"]\\n\\tpath = x\\n\\turl = ../../../etc\\n' >.gitmodules",
    ],
    ids=["monitors", "hooks", "drivers", "alternates", "links"],
)
def test_traps_of_an_agent_are_neither_run_nor_followed(relay: Relay, bare: Path, tmp_path: Path, plant: str):
    canary = tmp_path / "canary"
    run = worked(relay, bare, f"{plant.format(canary=f'touch {canary}')}; echo changed >changed.txt; exit 0")
    others_push(bare, tmp_path, "theirs.txt", "1\n")
    rebased = relay.wait_end(ask(relay, run, "rebase")["id"])
    found = merged(relay, run)
    assert not canary.exists()
    assert (rebased["status"], found["status"]) == ("completed", "merged"), (rebased, found)
    assert git("show", "main:changed.txt", cwd=bare) == "changed"
    assert "root:" not in git("show", "main:passwd", cwd=bare) if "passwd" in plant else True
