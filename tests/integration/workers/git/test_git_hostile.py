"""Traps that a hostile agent leaves in its clone: none of them runs, is read or is followed."""

import os
from pathlib import Path

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.git.host.store import Store
from tests.support.git_bench import BRANCH, Bench, Remote, Workspace, git, own, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker

HOOKS = ("pre-commit", "commit-msg", "post-commit", "post-index-change", "reference-transaction", "post-checkout")


@pytest.fixture
def trap(workspace: Workspace, tmp_path: Path) -> str:
    """A command that leaves a mark, on the host and where a container would see it."""
    script = f"#!/bin/sh\ntouch {tmp_path}/ran /workspace/ran {workspace.dir}/ran\ncat\nexit 0\n"
    write(workspace.dir / "home" / "trap", script).chmod(0o755)
    write(workspace.clone / "trap", script).chmod(0o755)
    return f"sh -c '/workspace/home/trap; {workspace.dir}/home/trap'"


def nothing_ran(workspace: Workspace, tmp_path: Path) -> None:
    assert not (tmp_path / "ran").exists()
    assert not (workspace.dir / "ran").exists()


def every_program(trap: str) -> str:
    keys = {
        "core": ("fsmonitor", "sshCommand", "editor", "pager", "askPass", "gitProxy"),
        "credential": ("helper",),
        "diff": ("external",),
        'diff "x"': ("command", "textconv"),
        'merge "x"': ("driver",),
        'filter "x"': ("clean", "smudge", "process"),
        "gpg": ("program",),
        "uploadpack": ("packObjectsHook",),
        "alias": ("status", "commit", "diff"),
        'remote "p"': ("uploadpack", "vcs"),
    }
    lines = [f"[{section}]\n" + "".join(f'\t{key} = "{trap}"\n' for key in names) for section, names in keys.items()]
    return (
        "".join(lines)
        + '[commit]\n\tgpgSign = true\n[filter "x"]\n\trequired = true\n[core]\n\thooksPath = /workspace/home\n'
    )


def arm(workspace: Workspace, trap: str) -> None:
    config = workspace.clone / ".git/config"
    config.write_text(config.read_text() + every_program(trap))
    write(workspace.dir / "home/.gitconfig", every_program(trap))
    write(workspace.dir / "home/included", every_program(trap))
    config.write_text(config.read_text() + "[include]\n\tpath = /workspace/home/included\n")
    for name in HOOKS:
        for place in (workspace.clone / ".git/hooks", workspace.dir / "home"):
            write(place / name, f"#!/bin/sh\n{trap}\n").chmod(0o755)
    write(workspace.clone / ".gitattributes", "* filter=x diff=x merge=x\n")
    write(workspace.clone / ".git/info/attributes", "* filter=x diff=x merge=x\n")
    write(workspace.clone / "README", "changed\n")


def test_programs_named_in_a_clone_never_run(workspace, trap, tmp_path):
    arm(workspace, trap)

    for message in (None, "message"):
        state = workspace.after(message)
        assert state.problem is None
        assert state.pinned_commit
        assert state.patch is not None
        assert b"+changed" in state.patch.text
    assert workspace.service.heads(workspace.dir, ["repo"])["repo"].commit == state.committed
    nothing_ran(workspace, tmp_path)


def test_the_traps_are_real(workspace, trap, tmp_path):
    """Git run in such a clone as anybody would run it does step into them."""
    arm(workspace, f"touch {tmp_path}/ran #")
    os.environ["GIT_CONFIG_COUNT"] = "0"
    try:
        os.system(f"cd {workspace.clone} && git -c safe.directory='*' status >/dev/null 2>&1")
    finally:
        del os.environ["GIT_CONFIG_COUNT"]
    assert (tmp_path / "ran").exists()


def test_a_promisor_remote_fetches_nothing(workspace, trap, tmp_path):
    config = workspace.clone / ".git/config"
    config.write_text(
        config.read_text().replace("repositoryformatversion = 0", "repositoryformatversion = 1")
        + '[extensions]\n\tpartialClone = p\n[remote "p"]\n\turl = ssh://x/y\n\tpromisor = true\n'
        + f'\tuploadpack = "{trap}"\n[core]\n\tsshCommand = "{trap}"\n[protocol]\n\tallow = always\n'
    )
    missing = git(workspace.clone, "hash-object", "-w", "--stdin", text="gone")
    tree = git(workspace.clone, "mktree", text=f"100644 blob {missing}\tgone\n")
    commit = git(workspace.clone, "commit-tree", "-p", "HEAD", "-m", "x", tree)
    (workspace.clone / ".git/objects" / missing[:2] / missing[2:]).unlink()
    write(workspace.clone / ".git/refs/heads" / BRANCH, f"{commit}\n")

    for message in (None, "message"):
        state = workspace.after(message)
        assert state.problem
        assert state.pinned_commit is None
    nothing_ran(workspace, tmp_path)


def test_filters_of_the_remote_run_neither_at_the_checkout(bench, remote):
    remote.commit({".gitattributes": "* filter=lfs ident text\n", "big": "version https://git-lfs\n"})

    workspace = bench.clone(remote.url)

    assert (workspace.clone / "big").read_text() == "version https://git-lfs\n"
    assert not workspace.after().dirty


@pytest.fixture
def other_tenant(bench: Bench, tmp_path: Path) -> Workspace:
    """Somebody else's project, with a secret in it."""
    path = tmp_path / "private"
    path.mkdir()
    git(path, "init", "-q", "-b", "main")
    secret = Remote(path)
    secret.commit({"secret": "the other tenant's secret\n"})
    return Bench(bench.settings, bench.tool).clone(secret.url)


def steal(workspace: Workspace, other: Workspace) -> str:
    """A commit that contains the other's blob without having it."""
    assert other.result is not None
    blob = git(other.clone, "rev-parse", "HEAD:secret")
    tree = git(workspace.clone, "mktree", "--missing", text=f"100644 blob {blob}\tstolen\n")
    commit = git(workspace.clone, "commit-tree", "-p", "HEAD", "-m", "stolen", tree)
    write(workspace.clone / ".git/refs/heads" / BRANCH, f"{commit}\n")
    return blob


@pytest.mark.parametrize("how", ["alternates", "relative alternates", "symlink", "nothing"])
def test_another_tenant_s_objects_stay_out_of_reach(bench, workspace, other_tenant, how):
    blob = steal(workspace, other_tenant)
    objects = other_tenant.result.mirror_path / "objects"
    alternates = workspace.clone / ".git/objects/info/alternates"
    if how == "alternates":
        alternates.write_text(f"{alternates.read_text()}{objects}\n")
    elif how == "relative alternates":
        alternates.write_text(f"{alternates.read_text()}../../../../../../../{objects.relative_to('/')}\n")
    elif how == "symlink":
        (workspace.clone / ".git/objects").rename(workspace.dir / "moved")
        (workspace.clone / ".git/objects").symlink_to(objects)

    for message in (None, "message"):
        state = workspace.after(message)
        assert state.problem
        assert state.pinned_commit is None
        assert state.patch is None
    store = Store(bench.settings, workspace.id, "repo")
    assert not store.has(blob)
    assert not list(store.path.glob("objects/pack/*.pack"))


@pytest.mark.parametrize("place", ["repos", "repos/repo", "repos/repo/.git", "repos/repo/.git/objects"])
@pytest.mark.parametrize("target", ["/etc", "private", "nowhere"])
def test_symlinked_directories_are_not_followed(workspace, other_tenant, place, target):
    link = workspace.dir / place
    link.rename(workspace.dir / "moved")
    link.symlink_to({"private": other_tenant.clone, "nowhere": "/nowhere"}.get(target, target))

    state = workspace.after("message")

    assert state.problem
    assert state.pinned_commit is None
    assert not Path("/etc/index.lock").exists()
    assert workspace.service.heads(workspace.dir, ["repo"])["repo"].problem or place.endswith("objects")
    assert git(other_tenant.clone, "status", "--porcelain") == ""


@pytest.mark.parametrize("name", ["HEAD", "index", "packed-refs", "info/exclude", f"refs/heads/{BRANCH}"])
@pytest.mark.parametrize("how", ["fifo", "shadow", "sparse", "directory"])
def test_odd_files_in_a_clone_end_in_a_state(bench, workspace, name, how):
    path = workspace.clone / ".git" / name
    write(workspace.clone / "new")
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if how == "fifo":
        os.mkfifo(path)
    elif how == "shadow":
        path.symlink_to("/etc/shadow")
    elif how == "sparse":
        with path.open("wb") as file:
            file.truncate(1 << 40)
    else:
        path.mkdir()
    own(path)
    own(path.parent)

    state = workspace.after()

    # What git itself does not need is passed over; what it needs is named.
    if name in {"HEAD", f"refs/heads/{BRANCH}"}:
        assert state.problem
        assert state.after_head is None
    else:
        assert state.pinned_commit
        assert state.dirty
    assert not bench.left_overs()


def test_nested_repositories_and_gitlinks_run_nothing(workspace, trap, tmp_path):
    for name in ("nested", "linked"):
        git(workspace.clone, "init", "-q", name)
        write(workspace.clone / name / "f")
        git(workspace.clone / name, "add", "-A")
        git(workspace.clone / name, "commit", "-qm", "x")
    git(workspace.clone, "add", "linked")
    git(workspace.clone, "commit", "-qm", "gitlink")
    write(
        workspace.clone / ".gitmodules",
        '[submodule "linked"]\n\tpath = linked\n\turl = ./linked\n',
    )
    for name in ("nested", "linked"):
        config = workspace.clone / name / ".git/config"
        config.write_text(config.read_text() + every_program(trap))
        write(workspace.clone / name / "f", "changed\n")
    write(workspace.clone / "README", "changed\n")

    state = workspace.after("message")

    assert state.committed
    nothing_ran(workspace, tmp_path)


def test_objects_that_git_s_checks_refuse_stay_out_of_the_store(bench, workspace):
    write(workspace.clone / ".gitmodules", '[submodule "x"]\n\tpath = x\n\turl = ./x\n\tupdate = !touch x\n')

    state = workspace.after("message")

    assert state.committed == state.after_head == workspace.service.heads(workspace.dir, ["repo"])["repo"].commit
    assert state.pinned_commit is None
    assert "gitmodulesUpdate" in str(state.problem)
    assert not Store(bench.settings, workspace.id, "repo").has(str(state.committed))


def test_paths_that_git_must_not_write_are_refused_at_the_checkout(bench, remote, tmp_path):
    blob = git(remote.path, "hash-object", "-w", "--stdin", text="#!/bin/sh\ntouch /workspace/ran\n")
    for number, name in enumerate((".git", ".GIT", "..")):
        inner = git(remote.path, "mktree", text=f"100755 blob {blob}\tconfig\n")
        raw = b"40000 " + name.encode() + b"\0" + bytes.fromhex(inner)
        (tmp_path / "tree").write_bytes(raw)
        tree = git(remote.path, "hash-object", "-t", "tree", "-w", "--literally", str(tmp_path / "tree"))
        commit = git(remote.path, "commit-tree", "-m", "x", tree)
        git(remote.path, "update-ref", f"refs/heads/evil{number}", commit)
        with pytest.raises(StepFailed, match="cannot be checked out") as error:
            bench.clone(remote.url, f"evil{number}")
        assert error.value.reason == Reason.CLONE_FAILED
    assert not bench.left_overs()


def test_a_clone_that_fills_git_s_memory_is_recorded(bench, workspace):
    blob = git(workspace.clone, "hash-object", "-w", "--stdin", text="x")
    entries = [("100644", "blob", blob, f"f{n}") for n in range(12)]
    for _ in range(6):
        listing = "".join(f"{mode} {kind} {oid}\t{name}\n" for mode, kind, oid, name in entries)
        tree = git(workspace.clone, "mktree", text=listing)
        entries = [("040000", "tree", tree, f"d{n}") for n in range(12)]
    commit = git(workspace.clone, "commit-tree", "-p", "HEAD", "-m", "bomb", tree)
    write(workspace.clone / ".git/refs/heads" / BRANCH, f"{commit}\n")
    (workspace.clone / ".git/index").unlink()
    small = bench.with_settings(git_container_memory_bytes=64 << 20, evidence_pack_max_bytes=1 << 20)
    workspace.service = small.service

    state = workspace.after("message")

    assert state.problem
    assert state.after_head == commit
    assert not bench.left_overs()
