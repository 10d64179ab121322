"""Input and output of the git container, which runs git_container.sh; all functions except `_script` are pure."""

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
from relay_workers.git.sandbox.clone_config import clone_config

PATHS_NAMED = 50
"""Maximum number of paths in a summary of changes."""
NAMED = 20
"""Maximum number of submodules, and of Git LFS pointers, that the script prints after a checkout."""
KINDS = ("staged", "modified", "deleted", "untracked", "unmerged", "nested")
"""Kinds of changes that a summary counts; ``nested`` is an untracked repository inside of the clone."""
SUBMODULE_DIFFERS = ("the submodule ", "files of the submodule ", "files were put into the place of a submodule")
"""First words of the script's messages about a submodule whose work tree differs from the commit in the index."""
_INDEX_BYTES = 160 << 20
"""Bytes added to the container's tmpfs for a copy of the clone's index and for lists of paths."""
_CHANGES_PER_PACK = 8
"""Changed files may be this many times larger than the largest allowed pack, because most files compress well."""

# The complete configuration for git in the container: git never reads the configuration of the clone.
_CONFIG = {
    "advice.detachedHead": "false",
    "checkout.workers": "0",
    "core.attributesFile": "/dev/null",
    "core.bigFileThreshold": "16m",
    "core.commitGraph": "false",
    "core.excludesFile": "/tmp/excludes",  # noqa: S108 - the script writes it before it looks at a work tree
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
    """The user and group that own the files of the clone; git in the container runs as them."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class CheckoutPlan:
    """Arguments of the container's command ``checkout``, which makes a clone."""

    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror: Path
    url: str
    """Address of the remote ``origin`` in the clone's configuration."""
    commit: str
    """Id of the commit that the container checks out."""
    branch: str
    """The workspace's branch, which the container creates at `commit`."""
    default_branch: str | None
    """The remote's default branch, to which ``origin/HEAD`` will point; None if the remote has none."""
    partial: str
    """Name of the directory while the clone is incomplete; the complete clone is renamed to `name`."""
    max_bytes: int
    """Maximum number of bytes that the checkout may write."""
    store: Path | None = None
    """Bare repository from which the commit is copied into the clone first; None: the mirror has it."""


@dataclass(frozen=True, slots=True)
class AfterStatePlan:
    """Arguments of the container's command ``after_state``, which records a clone and commits first if requested."""

    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror: Path
    head_commit: str | None
    """Commit of HEAD; None if the branch has no commit."""
    branch: str | None
    """Branch of HEAD; None if HEAD is on no branch."""
    commit: bool
    """Whether the container first commits the work tree on the branch."""
    base_commit: str
    """The commit from which the workspace's branch started."""
    known: tuple[str, ...]
    """Ids of commits that the store already has; the container leaves their objects out of the pack."""
    copied: tuple[str, ...] = ()
    """Paths of files that Relay copied into the clone; they are in no commit and no diff."""


@dataclass(frozen=True, slots=True)
class ResetPlan:
    """Arguments of the container's commands ``resolve`` and ``reset``."""

    name: str
    """Name of the clone's directory below ``repos/``."""
    mirror: Path
    head_commit: str | None
    """Commit of HEAD; None if HEAD has no commit or cannot be read."""
    branch: str
    """The workspace's branch, on which HEAD is afterwards."""
    commit: str
    """Id of the commit, or the beginning of its id."""
    store: Path | None = None
    """Bare repository from which the commit is copied first; None: the clone has it."""


@dataclass(frozen=True, slots=True)
class MergePlan:
    """Arguments of the container's commands ``merge`` and ``replay``; see `MergeRequest`."""

    store: Path
    mirror: Path
    target: str
    source: str
    base: str | None
    two_parents: bool


@dataclass(frozen=True, slots=True)
class ScriptAnswer:
    """The ``key value`` lines that the container's script printed."""

    values: Mapping[str, str]
    """Key → value of the last line with this key."""
    submodules: tuple[str, ...]
    """Paths of submodules, at most 20; git quotes paths with special characters."""
    pointers: tuple[str, ...] = ()
    """Paths of files that stay Git LFS pointers, at most 20; git quotes paths with special characters."""

    def commit(self, key: str) -> str | None:
        """Return the value of `key` if it is the id of a git object; otherwise None."""
        value = self.values.get(key, "")
        return value if re.fullmatch("[0-9a-f]{40}", value) else None

    def number(self, key: str) -> int:
        """Return the value of `key` if it is a number of up to six digits; otherwise 0."""
        value = self.values.get(key, "")
        return int(value) if re.fullmatch("[0-9]{1,6}", value) else 0


def tool_run(verb: str, workspace_dir: Path, user: ContainerUser, settings: Settings) -> ToolRun:
    """Return the description of a container that runs one command of git_container.sh.

    The caller adds the environment variables that this command needs.

    Args:
        verb: name of the command, such as ``checkout``.
        workspace_dir: directory of the workspace on the host.
        user: the user and group as which the container runs.
        settings: settings of the worker.
    """
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
        "HOME": "/tmp",  # noqa: S108 - a path in the container
        "LC_ALL": "C",
        "TZ": "UTC",
    }
    seconds = settings.git_container_timeout_seconds
    for number, (key, value) in enumerate(_CONFIG.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return ToolRun(
        image=settings.git_image,
        # `timeout` is process 1: the container stops when `timeout` exits, even if the worker is dead.
        argv=("timeout", "-s", "KILL", f"{seconds:g}", "/bin/sh", "-c", _script(), "git-container", verb),
        env=env,
        mounts=(ToolMount(str(workspace_dir), "/workspace", read_only=False),),
        user=f"{user.uid}:{user.gid}",
        memory_bytes=settings.git_container_memory_bytes,
        timeout_seconds=seconds,
        labels={"relay.workspace_id": workspace_dir.name, "relay.tool.verb": verb},
    )


def checkout_run(plan: CheckoutPlan, base: ToolRun, settings: Settings) -> ToolRun:
    """Return the description of a container that makes a clone.

    Args:
        plan: the clone to make.
        base: the result of `tool_run` for the command ``checkout``.
        settings: settings of the worker.
    """
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
        "STORE": "" if plan.store is None else str(plan.store),
    }
    bare = [_mirror_mount(path) for path in (plan.mirror, plan.store) if path is not None]
    return replace(base, env={**base.env, **env}, mounts=(*base.mounts, *bare))


def after_state_run(plan: AfterStatePlan, out_dir: Path, base: ToolRun, settings: Settings) -> ToolRun:
    """Return the description of a container that commits, summarises and packs a work tree.

    Args:
        plan: the clone to record.
        out_dir: directory with the commit message, into which the container writes files with results.
        base: the result of `tool_run` for the command ``after_state``.
        settings: settings of the worker.
    """
    env = {
        "NAME": plan.name,
        "MIRROR": str(plan.mirror),
        "HEAD_COMMIT": plan.head_commit or "",
        "BRANCH": plan.branch or "",
        "COMMIT": "yes" if plan.commit else "no",
        "BASE": plan.base_commit,
        "KNOWN": " ".join(plan.known),
        "EXCLUDES": "\n".join(settings.excludes),
        "COPIED": "\n".join(plan.copied),
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


def reset_run(plan: ResetPlan, base: ToolRun, settings: Settings) -> ToolRun:
    """Return the description of a container that resets a clone, or finds the commit for it.

    Args:
        plan: the clone, and the commit.
        base: the result of `tool_run` for the command.
        settings: settings of the worker.
    """
    env = {
        "NAME": plan.name,
        "MIRROR": str(plan.mirror),
        "HEAD_COMMIT": plan.head_commit or "",
        "BRANCH": plan.branch,
        "COMMIT": plan.commit,
        "EXCLUDES": "\n".join(settings.excludes),
        "STORE": "" if plan.store is None else str(plan.store),
    }
    stores = () if plan.store is None else (_mirror_mount(plan.store),)
    tmpfs = _INDEX_BYTES + (settings.evidence_pack_max_bytes if stores else 0)
    return replace(
        base,
        env={**base.env, **env},
        mounts=(*base.mounts, _mirror_mount(plan.mirror), *stores),
        memory_bytes=base.memory_bytes + tmpfs,
        tmpfs_bytes=tmpfs,
    )


def merge_run(plan: MergePlan, out_dir: Path, base: ToolRun, settings: Settings) -> ToolRun:
    """Return the description of a container that merges or replays commits. No workspace is mounted into it.

    Args:
        plan: the commits.
        out_dir: directory with the commit message, into which the container writes files with results.
        base: the result of `tool_run` for the command.
        settings: settings of the worker.
    """
    env = {
        "STORE": str(plan.store),
        "MIRROR": str(plan.mirror),
        "TARGET": plan.target,
        "SOURCE": plan.source,
        "BASE": plan.base or "",
        "PARENTS": "two" if plan.two_parents else "one",
        "MAX_PACK": str(settings.evidence_pack_max_bytes),
    }
    tmpfs = settings.evidence_pack_max_bytes + _INDEX_BYTES
    stores = (_mirror_mount(plan.mirror), _mirror_mount(plan.store))
    return replace(
        base,
        env={**base.env, **env},
        mounts=(*stores, ToolMount(str(out_dir), "/out", read_only=False)),
        memory_bytes=base.memory_bytes + tmpfs,
        tmpfs_bytes=tmpfs,
    )


def parse_answer(result: ToolResult) -> ScriptAnswer:
    """Parse the ``key value`` lines that the container's script printed."""
    lines = result.output.decode("utf-8", "replace").splitlines()
    pairs = [(key, value) for key, _, value in (line.partition(" ") for line in lines)]
    submodules, pointers = (tuple(value for key, value in pairs if key == kind) for kind in ("submodule", "lfs"))
    return ScriptAnswer(dict(pairs), submodules, pointers)


def container_failure(result: ToolResult, settings: Settings) -> StepFailed | None:
    """Return an error if the container failed before the end of its script; otherwise None."""
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
    """Summarise the output of ``git status --porcelain=v1 -z``.

    Args:
        status: the output of git; the path of a nested repository ends with ``/``.
        complete: whether `status` is the whole output; if not, its last record is incomplete and not counted.
        without: paths that are not counted.

    Returns:
        The number of changes for each of `KINDS`, the first 50 changes as ``paths``, and `complete`.
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


@cache
def _script() -> str:
    return Path(__file__).with_name("git_container.sh").read_text()
