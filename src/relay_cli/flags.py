"""Name the flags of commands where the API's errors name the fields of its requests."""

import re
from collections.abc import Mapping, Sequence

FIELDS: Mapping[str, str] = {
    r"repos\.\d+\.url": "--repo",
    r"repos\.\d+\.target_branch": "--branch",
    r"repos\.\d+\.setup_script": "--setup",
    r"repos\.\d+\.parallel_setup_script": "--parallel-setup",
    r"repos\.\d+\.cleanup_script": "--cleanup",
    r"repos\.\d+\.dev_server_script": "--dev-server",
    r"repos\.\d+\.(ref|setup_as_root|working_dir)": "--{0}",
    r"repos": "--repo",
    r"executor\.name": "--executor",
    r"executor": "--executor",
    r"executor\.(command|variant|model|reasoning_effort|permission_mode)": "--{0}",
    r"env\.(\w+)(\.\w+)?": "--env {0}",
    r"env": "--env",
    r"secrets\.(\w+)": "--secret {0}",
    r"secrets": "--secret",
    r"secrets_in(\.\d+)?": "--secret-in",
    r"limits\.(\w+)": "--limit {0}",
    r"labels\.(.+)\.\[key\]": "--label {0}",
    r"labels\.([\w./-]+)": "--label {0}",
    r"labels": "--label",
    r"limits": "--limit",
    r"project_id|query\.project_id|query\.project": "--project",
    r"task_id|query\.task_id": "--task",
    r"default_image": "--image",
    r"run_agent_again": "--agent",
    r"auto_commit": "--no-auto-commit",
    r"scopes(\.\d+)?": "--scope",
    r"before_execution": "--before",
    r"(branch|commit|force|discard_changes)": "--{0}",
    r"run_reason": "--agent, --script or --root",
    r"script": "--script",
    r"prompt": "PROMPT",
    r"tag_name": "NAME",
    r"parent_workspace_id": "PARENT",
    r"child_workspace_id": "CHILD",
    r"rules(\.\d+.*)?": "PATH",
    r"delegable(\.\d+.*)?": "PATH",
    r"denied(\.\d+.*)?": "--deny",
    r"payload(\..+)?": "PAYLOAD{0}",
    r"(image|profile|user|title|owner|repo|pool|default_for)": "--{0}",
    r"query\.(\w+)": "--{0}",
    r"path\.\w+": "ID",
}
"""Pattern of a field's path in a request → the flag of the commands that sets it; `{0}` is the first group."""
PHRASES: Mapping[str, str] = {
    r"say `run_agent_again: true` to run it": "add --agent to run it",
    r"give target_branch": "give --branch",
    r"give one that holds it as `image`": "name one that holds it with --image",
    r"give `image` as (\S+)": r"run it with --image \1",
    r"add a coding_agent step to the workspace instead": "run another agent there: relay step add ID --agent PROMPT",
    r"give either before_execution or commit": "give either --before or --commit",
    r"reset with discard_changes": "reset with --discard-changes",
    r"see `default_for`": "see --default-for",
    r"give one in `script`": "give one with --script",
    r"in `env` or `secrets`": "with --env or --secret",
    r"`limits\.(\w+?)(?:_bytes|_seconds)?`": r"--limit \1",
    r"(?<![\w/.])`?project_id`?(?!\w)": "--project",
    r"(?<![\w/.])`?target_branch`?(?!\w)": "--branch",
}
"""Pattern of words that are fit for clients of the API → words that are fit for the command line."""


def flag(field: str) -> str | None:
    """Return the flag that sets a field of a request; None if no flag does.

    Args:
        field: path of the field, as in the member `errors` of the API's answer.
    """
    for pattern, name in FIELDS.items():
        found = re.fullmatch(pattern, field)
        if found is not None:
            first = found[1] if found.groups() and "{0}" in name else ""
            return name.format(first.replace("_", "-") if name == "--{0}" else first)
    return None


def in_flags(text: str) -> str:
    """Return a message of the API with flags in place of the fields that it names in known phrases."""
    for pattern, words in PHRASES.items():
        text = re.sub(pattern, words, text)
    return text


def problem_text(detail: str, errors: Sequence[Mapping[str, str]]) -> str:
    """Return the message of a refused request, with flags in place of fields.

    Args:
        detail: the member `detail` of the API's answer.
        errors: its member `errors`, with `field` and `message` of each wrong field; it may be empty.
    """
    named = [(flag(error["field"]), in_flags(error["message"].removeprefix(f"{error['field']} "))) for error in errors]
    if not named or any(name is None for name, _ in named):
        return in_flags(detail)
    return "; ".join(f"{name}: {message}" for name, message in dict.fromkeys(named))
