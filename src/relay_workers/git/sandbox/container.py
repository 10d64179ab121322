"""Input and output of the git container, whose program is git_container.sh; all functions but `_script` are pure."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolMount, ToolResult, ToolRun

PATHS_NAMED = 50
"""Most paths in a summary of changes."""
NAMED = 20
"""Most submodules, and most pointers of Git LFS, that the checkout names."""
KINDS = ("staged", "modified", "deleted", "untracked", "unmerged", "nested")
"""Kinds of changes that a summary counts; ``nested`` is an untracked repository inside of the clone."""
SUBMODULE_DIFFERS = ("the submodule ", "files of the submodule ", "files were put into the place of a submodule")
"""Beginnings of the script's messages about a submodule whose work tree is not the commit that HEAD names."""
_INDEX_BYTES = 160 << 20
"""Bytes of the tmpfs for a copy of the clone's index, lists of paths and the like."""
_CHANGES_PER_PACK = 8
"""Allowed ratio of the size of changed files to the size of the largest pack: most files compress well."""

# Git's whole configuration: the configuration of the clone is never read.
_CONFIG = {
    "advice.detachedHead": "false",
    "checkout.workers": "0",
    "core.attributesFile": "/dev/null",
    "core.bigFileThreshold": "16m",
    "core.commitGraph": "false",
    "core.excludesFile": "/dev/null",
    "core.fsmonitor": "false",
    "core.hooksPath": "/dev/null",
    "core.looseCompression": "1",
    "core.multiPackIndex": "false",
    "core.untrackedCache": "false",
    "diff.ignoreSubmodules": "all",
    "gc.auto": "0",
    "index.sparse": "false",
    "maintenance.auto": "false",
    "pack.compression": "1",
    "pack.threads": "1",
    "protocol.allow": "never",
    "safe.directory": "*",
    "submodule.recurse": "false",
}


@dataclass(frozen=True, slots=True)
class ContainerUser:
    """User and group that own the files of the clone; git runs as this user."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class CheckoutPlan:
    """Arguments of a checkout: the clone that the container is to make."""

    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror: Path
    url: str
    """Address of the remote ``origin`` in the clone's configuration."""
    commit: str
    """Commit that is checked out."""
    branch: str
    """The workspace's branch, which is created at `commit`."""
    default_branch: str | None
    """The remote's default branch, for ``origin/HEAD``."""
    partial: str
    """Name of the directory in which the clone is made before it gets its own name."""
    max_bytes: int
    """Most bytes that the checkout may write."""


@dataclass(frozen=True, slots=True)
class AfterStatePlan:
    """Arguments of the recording of a clone's state, with or without a commit."""

    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror: Path
    head_commit: str | None
    branch: str | None
    commit: bool
    """Whether the work tree is to be committed on the branch."""
    base_commit: str
    """The commit at which the workspace's branch began."""
    known: tuple[str, ...]
    """Commits that the store already has; their objects need not be packed."""


@dataclass(frozen=True, slots=True)
class ScriptAnswer:
    """The ``key value`` lines that the script printed."""

    values: Mapping[str, str]
    submodules: tuple[str, ...]
    """Paths of submodules, at most 20; git quotes paths with special characters."""
    pointers: tuple[str, ...] = ()
    """Paths of files that are left as pointers of Git LFS, likewise."""

    def commit(self, key: str) -> str | None:
        """Return the value of `key` if it is the id of an object."""
        value = self.values.get(key, "")
        return value if re.fullmatch("[0-9a-f]{40}", value) else None


def tool_run(verb: str, workspace_dir: Path, user: ContainerUser, settings: Settings) -> ToolRun:
    """Return the container that runs one command (`verb`) of the script, without the command's own variables."""
    env = {
        "GIT_ALLOW_PROTOCOL": "",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": settings.git_author_name,
        "GIT_AUTHOR_EMAIL": settings.git_author_email,
        "GIT_COMMITTER_NAME": settings.git_author_name,
        "GIT_COMMITTER_EMAIL": settings.git_author_email,
        "GIT_CONFIG_COUNT": str(len(_CONFIG)),
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "HOME": "/tmp",  # noqa: S108 - the container's own
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    seconds = settings.git_container_timeout_seconds
    for number, (key, value) in enumerate(_CONFIG.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return ToolRun(
        image=settings.git_image,
        # `timeout` is process 1: its end ends the container, even if the worker is dead.
        argv=("timeout", "-s", "KILL", f"{seconds:g}", "/bin/sh", "-c", _script(), "git-container", verb),
        env=env,
        mounts=(ToolMount(str(workspace_dir), "/workspace", read_only=False),),
        user=f"{user.uid}:{user.gid}",
        memory_bytes=settings.git_container_memory_bytes,
        timeout_seconds=seconds,
        labels={"relay.workspace_id": workspace_dir.name, "relay.tool.verb": verb},
    )


def checkout_run(plan: CheckoutPlan, base: ToolRun, settings: Settings) -> ToolRun:
    """Return the container that makes a clone."""
    env = {
        "NAME": plan.name,
        "MIRROR": str(plan.mirror),
        "COMMIT": plan.commit,
        "BRANCH": plan.branch,
        "DEFAULT_BRANCH": plan.default_branch or "",
        "CONFIG": clone_config(plan.url, settings),
        "PARTIAL": plan.partial,
        "MAX_BYTES": str(plan.max_bytes),
        "MAX_FILES": str(settings.checkout_max_files),
    }
    return replace(base, env={**base.env, **env}, mounts=(*base.mounts, _mirror_mount(plan.mirror)))


def after_state_run(plan: AfterStatePlan, out_dir: Path, base: ToolRun, settings: Settings) -> ToolRun:
    """Return the container that commits, summarises and packs a work tree; results are written to `out_dir`."""
    env = {
        "NAME": plan.name,
        "MIRROR": str(plan.mirror),
        "HEAD_COMMIT": plan.head_commit or "",
        "BRANCH": plan.branch or "",
        "COMMIT": "yes" if plan.commit else "no",
        "BASE": plan.base_commit,
        "KNOWN": " ".join(plan.known),
        "MAX_PACK": str(settings.evidence_pack_max_bytes),
        "MAX_INPUT": str(settings.evidence_pack_max_bytes * _CHANGES_PER_PACK),
    }
    tmpfs = settings.evidence_pack_max_bytes + _INDEX_BYTES
    return replace(
        base,
        env={**base.env, **env},
        mounts=(*base.mounts, _mirror_mount(plan.mirror), ToolMount(str(out_dir), "/out", read_only=False)),
        memory_bytes=base.memory_bytes + tmpfs,
        tmpfs_bytes=tmpfs,
    )


def clone_config(url: str, settings: Settings) -> str:
    """Return the ``.git/config`` of a new clone: its origin without secrets, and an author for commits made in it."""
    return "\n".join(
        (
            "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true",
            f'[remote "origin"]\n\turl = {_quoted(url)}\n\tfetch = +refs/heads/*:refs/remotes/origin/*',
            f"[user]\n\tname = {_quoted(settings.git_author_name)}\n\temail = {_quoted(settings.git_author_email)}",
        )
    )


def parse_answer(result: ToolResult) -> ScriptAnswer:
    """Parse the lines that the script printed."""
    lines = result.output.decode("utf-8", "replace").splitlines()
    pairs = [(key, value) for key, _, value in (line.partition(" ") for line in lines)]
    submodules, pointers = (tuple(value for key, value in pairs if key == kind) for kind in ("submodule", "lfs"))
    return ScriptAnswer(dict(pairs), submodules, pointers)


def container_failure(result: ToolResult, settings: Settings) -> StepFailed | None:
    """Return the failure of a container that did not reach the end of the script; None if it did."""
    if result.cancelled:
        return StepFailed(Reason.USER, "the git container was cancelled")
    if result.timed_out:
        seconds = f"{settings.git_container_timeout_seconds:g}"
        return StepFailed(Reason.CLONE_TIMEOUT, f"the git container took more than {seconds} s and was ended")
    if result.oom:
        size = settings.git_container_memory_bytes >> 20
        return StepFailed(Reason.OOM, f"git needs more than the git container's {size} MiB of memory")
    if result.exit_code:
        text = result.errors.decode("utf-8", "replace").strip()[-300:]
        return StepFailed(Reason.INTERNAL_ERROR, f"the git container ended with code {result.exit_code}: {text}")
    return None


def summarise(status: bytes, *, complete: bool, without: Collection[str] = ()) -> dict[str, Any]:
    """Count the changes that ``git status --porcelain=v1 -z`` printed, by `KINDS`, and name the first paths.

    The path of a nested repository ends in ``/``.

    Args:
        status: the output of git.
        complete: whether it is the whole output; else its last record is cut and not counted.
        without: paths that are not counted.
    """
    records = status.split(b"\0")
    if not complete:
        records = records[:-1]
    summary: dict[str, Any] = dict.fromkeys(KINDS, 0)
    without = frozenset(without)
    paths: list[str] = []
    for record in records:
        if len(record) < 4:
            continue
        code, path = record[:2].decode("latin-1"), record[3:].decode("utf-8", "replace")
        if path in without:
            continue
        summary[_kind(code, path)] += 1
        if len(paths) < PATHS_NAMED:
            paths.append(f"{code} {path}")
    return {**summary, "paths": paths, "complete": complete}


def _kind(code: str, path: str) -> str:
    if code == "??":
        return "nested" if path.endswith("/") else "untracked"
    if "U" in code or code in {"AA", "DD"}:
        return "unmerged"
    if code[1] == " ":
        return "staged"
    return "deleted" if code[1] == "D" else "modified"


def _mirror_mount(mirror: Path) -> ToolMount:
    return ToolMount(str(mirror), str(mirror), read_only=True)


def _quoted(value: str) -> str:
    return '"' + re.sub(r"[\x00-\x1f]", " ", value).replace("\\", "\\\\").replace('"', '\\"') + '"'


@cache
def _script() -> str:
    return Path(__file__).with_name("git_container.sh").read_text()
