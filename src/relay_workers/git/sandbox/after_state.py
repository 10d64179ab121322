"""Record the git state of a clone after a step: optionally commit, then store HEAD, a summary of changes, and diffs."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import structlog

from relay_core.domain.errors import StepFailed
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolRunner
from relay_workers.git.host.bundle import BundleMaker
from relay_workers.git.host.process import DeadlinePassed
from relay_workers.git.host.scratch import scratch
from relay_workers.git.host.store import Store
from relay_workers.git.port import AfterState, AfterStateRequest, Bundle, ExcludedPath, OmittedPath
from relay_workers.git.sandbox import container
from relay_workers.git.sandbox.container import AfterStatePlan, ContainerUser, ScriptAnswer
from relay_workers.git.sandbox.head_reader import read_head
from relay_workers.host_files.safe_dir import SafeDir

_STATUS_LIMIT = 8 << 20
_PATHS_LIMIT = 1 << 20
_OMITTED_NAMED = 100
_MESSAGE_LIMIT = 4 << 10

log = structlog.get_logger()


class Recorder:
    """Records the git state of clones after a step; see `Git.after_state`."""

    def __init__(self, settings: Settings, tool: ToolRunner) -> None:
        self._settings = settings
        self._tool = tool

    def record(self, request: AfterStateRequest) -> AfterState:
        """Record the state of one clone; return a failure as `AfterState.problem` instead of raising it."""
        head = read_head(request.workspace_dir, request.name)
        if head.commit is None and head.branch is None:
            return AfterState(None, problem=head.problem)
        state = AfterState(head.commit, head.branch, problem=head.problem)
        try:
            message, user = request.commit_message or "", ContainerUser(request.uid, request.gid)
            with out_directory(self._settings, message, user) as out_dir:
                return self._record(request, state, out_dir)
        except (StepFailed, DeadlinePassed, OSError) as error:  # OSError: for example a full disk
            head = read_head(request.workspace_dir, request.name)
            log.warning("after-state not recorded", action="after_state", repo=request.name, problem=str(error))
            return replace(state, after_head=head.commit, problem=str(error))

    def _record(self, request: AfterStateRequest, state: AfterState, out_dir: Path) -> AfterState:
        store = Store(self._settings, request.workspace_id, request.name)
        store.prepare(request.mirror_path)
        before = request.before_commit
        plan = AfterStatePlan(
            name=request.name,
            mirror=request.mirror_path,
            head_commit=state.after_head,
            branch=state.branch,
            commit=request.commit_message is not None,
            base_commit=request.base_commit,
            copied=request.copied,
            known=(before,) if before and before != request.base_commit and store.has(before) else (),
        )
        user = ContainerUser(request.uid, request.gid)
        base = container.tool_run("after_state", request.workspace_dir, user, self._settings)
        result = self._tool.run(container.after_state_run(plan, out_dir, base, self._settings))
        answer = container.parse_answer(result)
        pinned = answer.commit("pinned")
        state = _described(state, answer, out_dir)
        failure = container.container_failure(result, self._settings)
        if failure is not None or pinned is None:
            return replace(state, problem=str(failure or answer.values.get("problem", "git gave no answer")))
        try:
            keep(store, request.execution_id, pinned, out_dir)
        except (StepFailed, DeadlinePassed, OSError) as error:  # the result still contains the commit if one was made
            return replace(state, problem=str(error))
        return self._with_bundle(self._with_patches(replace(state, pinned_commit=pinned), store, request), request)

    def _with_patches(self, state: AfterState, store: Store, request: AfterStateRequest) -> AfterState:
        pinned, limit = state.pinned_commit, self._settings.patch_max_bytes
        if pinned is None:
            return state
        starts = {request.before_commit, request.run_commit} - {request.base_commit}
        try:
            patch = store.patch(request.base_commit, pinned, limit, request.mask)
            patches = {
                start: store.patch(start, pinned, limit, request.mask) for start in starts if start and store.has(start)
            }
        except StepFailed as error:
            return replace(state, problem=str(error))
        run_base = request.run_commit if request.run_commit in patches else None
        step_patch = patches.get(request.before_commit or "")
        run_patch = patches[run_base] if run_base is not None and run_base != request.before_commit else None
        return replace(state, patch=patch, step_patch=step_patch, run_base=run_base, run_patch=run_patch)

    def _with_bundle(self, state: AfterState, request: AfterStateRequest) -> AfterState:
        pinned, branch = state.pinned_commit, request.bundle_branch
        if pinned is None or branch is None or pinned == request.base_commit or pinned in request.bundled:
            return state
        maker = BundleMaker(self._settings, Store(self._settings, request.workspace_id, request.name).path)
        try:
            return replace(state, bundle=maker.make(branch, request.base_commit, pinned, request.mask))
        except StepFailed as error:
            return replace(state, bundle=Bundle(None, str(error)))


@contextmanager
def out_directory(settings: Settings, message: str, user: ContainerUser) -> Iterator[Path]:
    """Create a temporary directory outside of the workspace: it has a commit message and gets the results."""
    with scratch(settings.data_dir) as path:
        (path / "message").write_bytes(_commit_message(message))
        if os.geteuid() == 0:
            os.chown(path / "message", user.uid, user.gid)
            os.chown(path, user.uid, user.gid)
        yield path


def keep(store: Store, pin: UUID, commit: str, out_dir: Path) -> None:
    """Add the pack that the container wrote to a store, and pin a commit of it.

    Raises:
        StepFailed: reason ``internal_error``: the pack is damaged, too large, or lacks objects.
        DeadlinePassed: git took too long.
    """
    with SafeDir.open(out_dir) as results:
        descriptor, _ = results.open_file("pack")
    try:
        store.import_pack(descriptor)
    finally:
        os.close(descriptor)
    store.pin(pin, commit)


def _commit_message(text: str) -> bytes:
    """Return a commit message of at most 4 KiB, cut between two characters; replace an empty message by a default."""
    message = text.replace("\0", "").strip().encode("utf-8", "replace")[:_MESSAGE_LIMIT]
    return (message.decode("utf-8", "ignore") or "Changes of the agent").encode() + b"\n"


def _described(state: AfterState, answer: ScriptAnswer, out_dir: Path) -> AfterState:
    """Return `state` with the results of the container added.

    Args:
        state: the state read from the clone's files.
        answer: the lines that the container's script printed.
        out_dir: the directory into which the container wrote files with results.
    """
    committed = answer.commit("committed")
    after_head = committed or state.after_head
    pinned = answer.commit("pinned")
    with SafeDir.open(out_dir) as results:
        status = result_file(results, "status", _STATUS_LIMIT)
        unchanged = records_in(result_file(results, "unchanged", _PATHS_LIMIT))
        records = records_in(result_file(results, "omitted", _PATHS_LIMIT))
        excluded = records_in(result_file(results, "excluded", _PATHS_LIMIT))
    omitted = tuple(OmittedPath(path, why) for path, why in zip(records[::2], records[1::2], strict=False))
    summary = container.summarise(status or b"", complete=len(status or b"") < _STATUS_LIMIT, without=unchanged)
    return replace(
        state,
        after_head=after_head,
        committed=committed,
        commit_problem=answer.values.get("commit_problem"),
        dirty=None if status is None else _dirty(answer, summary, omitted, (pinned, after_head)),
        summary=summary,
        omitted=omitted[:_OMITTED_NAMED],
        excluded=tuple(map(ExcludedPath, excluded[::2], excluded[1::2]))[:_OMITTED_NAMED],
        excluded_count=answer.number("excluded"),
        problem=_left_out(answer, omitted) or state.problem,
    )


def _dirty(
    answer: ScriptAnswer,
    summary: dict[str, Any],
    omitted: Sequence[OmittedPath],
    commits: tuple[str | None, str | None],
) -> bool | None:
    pinned, after_head = commits
    changed = pinned != after_head if pinned else any(summary[kind] for kind in container.KINDS)
    if changed or "too_big" in answer.values or "unreadable" in answer.values or summary["nested"]:
        return True
    if any(path.why.startswith(container.SUBMODULE_DIFFERS) for path in omitted):
        return True
    return None if "unseen" in answer.values else False


def _left_out(answer: ScriptAnswer, omitted: Sequence[OmittedPath]) -> str | None:
    """Return a sentence about the changes that are not recorded; None if all changes are recorded."""
    if "too_big" in answer.values:
        return f"the changed files have {answer.values['too_big']} bytes, too many to keep; HEAD is kept instead"
    if not omitted:
        return None
    unreadable = answer.values.get("unreadable")
    begin = f"{unreadable} changed files cannot be read by the workspace's user; " if unreadable else ""
    more = f", and {len(omitted) - 1} more" if len(omitted) > 1 else ""
    return f"{begin}not all changes are kept: {omitted[0].path}: {omitted[0].why}{more} (see `omitted`)"


def result_file(results: SafeDir, name: str, limit: int) -> bytes | None:
    """Return the content of a result file of the container; None if the container did not write the file."""
    try:
        return results.read_bytes(name, limit)
    except FileNotFoundError:
        return None


def records_in(data: bytes | None) -> list[str]:
    """Return the NUL-terminated records in the data; an incomplete record after the last NUL is dropped."""
    return [record.decode("utf-8", "replace") for record in (data or b"").split(b"\0")[:-1]]
