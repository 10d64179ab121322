"""A conversation whose file ends with a torn line, on a real node: the agent here refuses lines that it cannot parse."""

import json
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import select

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_core.store.schema.tables import CodingAgentTurn, Event, ExecutionProcess
from relay_core.store.workspaces.follow_up import add_follow_up
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.host_files import torn_line
from tests.support.worker_fixtures import ME, Node

pytest_plugins = ["tests.support.worker_fixtures"]
pytestmark = pytest.mark.docker

E = ExecutionProcess
ID = "0b6f0c5e-7a51-4ab5-9d0c-2f3d8c1b2a10"
AGENT = f"""
import json, os, sys
path = os.path.expanduser("~/.claude/projects/-workspace/{ID}.jsonl")
os.makedirs(os.path.dirname(path), exist_ok=True)
history = [json.loads(line) for line in open(path)] if "--resume" in sys.argv else []
with open(path, "a") as file:
    file.write(json.dumps({{"number": len(history)}}) + "\\n")
    file.write('{{"number": ' if "tear" in sys.stdin.read() else "")
text, said = f"history={{len(history)}}", {{"session_id": "{ID}"}}
message = {{"id": "m1", "role": "assistant", "content": [{{"type": "text", "text": text}}], "usage": {{"input_tokens": 1}}}}
print(json.dumps({{"type": "system", "subtype": "init", **said}}))
print(json.dumps({{"type": "assistant", "message": message, **said}}))
result = {{"type": "result", "subtype": "success", "is_error": False, "result": text, "num_turns": 1}}
print(json.dumps({{**result, "usage": {{"input_tokens": 1, "output_tokens": 1}}, **said}}))
"""


def submit(node: Node, prompt: str) -> UUID:
    setup = f"cat >/workspace/home/agent.py <<'END'\n{AGENT}\nEND"
    repo = RepoInput(f"file://{node.repo}", setup_script=setup)
    executor = ExecutorChoice("claude-code", "python3 /workspace/home/agent.py")
    run = RunInput((repo,), prompt, executor, Limits(kill_grace_seconds=0.5))
    with node.db.begin() as connection:
        return submit_run(connection, run, ME, node.context.settings).workspace_id


def follow_up(node: Node, workspace_id: UUID, prompt: str) -> UUID:
    session_id = node.step(workspace_id, RunReason.CLONE)["session_id"]
    with node.db.begin() as connection:
        made = add_follow_up(connection, session_id, prompt, ME)
    ended = node.run(made)
    assert ended["status"] == "completed", ended["error_reason"]
    return made


def summary(node: Node, execution_id: UUID) -> str:
    of = select(CodingAgentTurn.summary).where(CodingAgentTurn.execution_process_id == execution_id)
    with node.db.connect() as connection:
        return str(connection.scalar(of))


def told(node: Node, execution_id: UUID) -> list[dict[str, object]]:
    kind = Event.kind == "execution.conversation_torn"
    with node.db.connect() as connection:
        return list(connection.scalars(select(Event.payload).where(Event.operation_id == execution_id, kind)))


@pytest.mark.proves("T004-23")
def test_a_torn_last_line_is_set_aside_and_told_before_the_agent_goes_on(node: Node) -> None:
    workspace_id = submit(node, "begin and tear")
    ended = node.run(node.chain(workspace_id, RunReason.CODING_AGENT)["id"])
    assert ended["status"] == "completed", ended["error_reason"]
    file = Path(
        node.context.settings.data_dir, f"workspaces/{workspace_id}/home/.claude/projects/-workspace/{ID}.jsonl"
    )
    whole, _, torn = file.read_bytes().rpartition(b"\n")
    assert torn == b'{"number": '

    second = follow_up(node, workspace_id, "go on")
    assert summary(node, second) == "history=1", "what is before the torn line is the conversation"
    assert file.with_name(f"{file.name}.torn-{len(whole) + 1}").read_bytes() == torn
    assert [json.loads(line) for line in file.read_bytes().splitlines()] == [{"number": 0}, {"number": 1}]

    third = follow_up(node, workspace_id, "and on")
    assert (summary(node, third), told(node, third)) == ("history=2", [])
    [report] = told(node, second)
    place = f"home/.claude/projects/-workspace/{ID}.jsonl"
    assert (report["file"], report["line"], report["offset"], report["bytes"], report["phase"]) == (
        place,
        2,
        len(whole) + 1,
        len(torn),
        "resume",
    )


def test_the_row_of_the_execution_is_free_while_files_are_read_and_copied(node: Node, monkeypatch) -> None:
    workspace_id = submit(node, "begin and tear")
    node.run(node.chain(workspace_id, RunReason.CODING_AGENT)["id"])
    copy, free = torn_line._copied, []

    def looked(*arguments):
        with node.db.begin() as connection:  # as a kill does
            row = select(E.id).where(E.status == "running").with_for_update(nowait=True)
            free.append(connection.scalar(row))
        return copy(*arguments)

    monkeypatch.setattr(torn_line, "_copied", looked)
    second = follow_up(node, workspace_id, "go on")
    assert free == [second]
    assert (summary(node, second), len(told(node, second))) == ("history=1", 1)
