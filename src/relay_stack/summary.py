"""Make the last texts that `relay up` prints: the result of the sample job, and the addresses of the stack."""

from typing import Any

from relay_stack.files.stack_state import StackState
from relay_stack.sample.sample_job import SampleResult


def sample_summary(result: SampleResult) -> str:
    """Return the result of the sample job as text: one line for each step, then one for each commit."""
    lines = ["Sample job: " + ("succeeded" if result.succeeded else "FAILED")]
    lines += [_step(execution) for execution in result.executions]
    lines += [line for execution in result.executions for line in _commits(execution)]
    return "\n".join(lines)


def where_everything_is(state: StackState, data_dir: str, page: str, programs: str | None = None) -> str:
    """Return a text with addresses, passwords and folders of the stack, and commands to try first.

    Args:
        state: the running stack.
        data_dir: its data directory.
        page: address of the page, with a code that signs in.
        programs: the folder of the command `relay` if the person's shell does not find it.
    """
    path = [f'         export PATH="{programs}:$PATH"'] if programs else []
    processes = ", ".join(f"{process.name} {process.pid}" for process in state.processes)
    return "\n".join(
        (
            f"Page     {page}   (signs you in once, within 10 minutes)",
            f"API      {state.api_url}   (documentation: {state.api_url}/docs)",
            f"Flower   {state.flower_url}   (user {state.flower_user}, password {state.flower_password})",
            f"Token    {state.token}",
            f"Data     {data_dir}   (logs: {data_dir}/logs)",
            f"Running  {processes}",
            "",
            f'Try      curl -H "Authorization: Bearer {state.token}" {state.api_url}/v1/workspaces',
            *path,
            "         relay run --repo URL 'what to do'     relay ps     relay status     relay down",
        )
    )


def _step(execution: dict[str, Any]) -> str:
    reason = execution["error_reason"] or ""
    code = "" if execution["exit_code"] is None else f"exit code {execution['exit_code']}"
    return f"  {execution['run_reason']:<15} {execution['status']:<10} {code} {reason}".rstrip()


def _commits(execution: dict[str, Any]) -> list[str]:
    lines = []
    for repo in execution["repo_states"]:
        before, after = repo["before_head_commit"], repo["after_head_commit"]
        if before and after and before != after:
            stat = repo["stat"] or {}
            changes = f"{stat.get('files', 0)} files, +{stat.get('insertions', 0)} -{stat.get('deletions', 0)}"
            lines.append(f"  {repo['name']}: {before[:10]} → {after[:10]} by {execution['run_reason']} ({changes})")
    return lines
