"""Converts the git state of a repository after a step into database columns, with secrets masked."""

from typing import Any

import zstandard

from relay_core.domain.logs.masking import SecretMask
from relay_workers.git.port import AfterState, Head, Patch


def head_columns(head: Head, mask: SecretMask) -> dict[str, Any]:
    """Return the columns for HEAD. The branch name is masked too, because the agent may have chosen it."""
    branch = head.branch and mask.text(head.branch)
    masked = {} if branch == head.branch else {"stat": {"masked_fields": ["branch"]}}
    return {
        "after_head_commit": head.commit,
        "branch": branch,
        "problem": head.problem and mask.text(head.problem),
        **masked,
    }


def after_state_columns(after: AfterState, mask: SecretMask) -> dict[str, Any]:
    """Return the columns for the state that git recorded after a step. Patches are compressed with zstandard."""
    branch, summary = after.branch and mask.text(after.branch), after.summary
    if summary.get("paths"):
        summary = {**summary, "paths": [mask.text(path) for path in summary["paths"]]}
    stat = _stat(after.patch)
    if after.step_patch is not None:
        stat["step"] = _stat(after.step_patch)
    if after.run_base is not None:
        stat["run"] = {"base": after.run_base, **_stat(after.run_patch or after.step_patch)}
    if after.omitted:
        stat["omitted"] = [{"path": mask.text(file.path), "why": mask.text(file.why)} for file in after.omitted]
    if after.excluded_count:
        paths = [{"path": mask.text(file.path), "pattern": file.pattern} for file in after.excluded]
        stat["excluded"] = {"count": after.excluded_count, "paths": paths}
    fields = {"branch": branch != after.branch, "summary": summary != after.summary}
    if any(fields.values()):
        stat["masked_fields"] = [name for name, masked in fields.items() if masked]
    problem = after.problem or after.commit_problem
    return {
        "after_head_commit": after.after_head,
        "branch": branch,
        "dirty": after.dirty,
        "summary": summary,
        "pinned_commit": after.pinned_commit,
        "committed": after.committed,
        "problem": problem and mask.text(problem),
        "patch": _compressed(after.patch),
        "step_patch": _compressed(after.step_patch),
        "run_patch": _compressed(after.run_patch),
        "stat": stat or None,
        "bundle": after.bundle and after.bundle.content,
        "bundle_problem": after.bundle and after.bundle.problem and mask.text(after.bundle.problem),
    }


def _stat(patch: Patch | None) -> dict[str, Any]:
    if patch is None:
        return {}
    return {
        "files": patch.files,
        "insertions": patch.insertions,
        "deletions": patch.deletions,
        "truncated": patch.truncated,
        "masked": list(patch.masked),
    }


def _compressed(patch: Patch | None) -> bytes | None:
    return None if patch is None else zstandard.compress(patch.text)
