"""The plan for mini-swe-agent; and what 2.4.6 prints."""

import os
import signal
import subprocess

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from relay_core.domain.agents.conversation import EntryKind, ToolStatus
from relay_core.domain.errors import InvalidInput
from relay_core.domain.vocabulary import Reason
from relay_workers.agents.mini.reader import MiniReader
from relay_workers.agents.port import TurnRequest
from relay_workers.agents.registry import get_executor

RULE = "─" * 500 + "\n"
HEAD = f"""\
Building agent config from specs: ['mini.yaml', '/workspace/home/x.yaml']

System:
You are a helpful assistant that can interact with a computer.

User:
Please solve this issue: …

Tool:
is a word of the prompt
{RULE}
"""
STEP = f"""\
mini-swe-agent (step 1, $0.00):
I will.

```
echo hi
exit 3
```

Tool:
<returncode>
3
<output>
hi

{RULE}
"""
LAST = """\
mini-swe-agent (step 2, $0.00):
finishing

```
echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT; echo "All done ✓"
```

Tool:
<returncode>
-1
<output>

<exception_info>
action was not executed

"""
SAVED = "\nSaved trajectory to '/workspace/home/x.traj.json'\n"
TRAJECTORY = """\
{
  "info": {
    "model_stats": {
      "instance_cost": 0.25,
      "api_calls": 2
    },
    "config": {},
    "mini_version": "2.4.6",
    "exit_status": "Submitted",
    "submission": "\\n    \\"exit_status\\": \\"Spoofed\\""
  },
  "messages": [
    {
          "usage": {
            "completion_tokens": 7,
            "prompt_tokens": 11,
            "prompt_tokens_details": {
              "cached_tokens": 3
            },
            "completion_tokens_details": {
              "reasoning_tokens": 5
            }
          }
    },
    {
          "usage": {
            "completion_tokens": 8,
            "prompt_tokens": 12
          }
    }
  ]
}
"""


def end(status="Submitted"):
    counts = '"instance_cost": 0.250000, "api_calls": 2, "prompt_tokens": 23, "completion_tokens": 15'
    counts += ', "cached_tokens": 3, "reasoning_tokens": 5'
    return f'{{"mini": {{"exit_status": "{status}", {counts}}}}}\n'


def plan_of(prompt="fix it", **given):
    return get_executor("mini").plan(TurnRequest(prompt, **given))


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip))
def test_the_prompt_is_a_configuration_that_yaml_reads_back(prompt):
    assert yaml.safe_load(plan_of(prompt).stdin.decode()) == {"run": {"task": prompt}}


@pytest.fixture
def program(tmp_path):
    """A program in mini's place, and how the script is started with it."""
    file = tmp_path / "program"

    def start(body):
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
        plan = plan_of(command=str(file), model="openai/m", args=("--cost-limit", "1"))
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OPENAI_BASE_URL": "http://x/v1"}
        command = ["/bin/sh", "-c", plan.script.decode()]
        process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        process.stdin.write(plan.stdin)
        process.stdin.close()
        return process

    return start


def test_the_script_runs_it_and_tells_how_it_ended(program, tmp_path):
    (tmp_path / "trajectory").write_text(TRAJECTORY)
    body = 'echo "$@" "$OPENAI_API_BASE"; cat "$8"; echo; cp "$HOME/trajectory" "${10}"; exit 7'
    process = program(body)
    arguments, task, told = process.stdout.read().decode().splitlines()
    assert process.wait() == 7
    assert arguments.startswith("--yolo --exit-immediately --model openai/m --config mini.yaml --config /")
    assert arguments.endswith(".traj.json --cost-limit 1 http://x/v1")
    assert task == '{"run": {"task": "fix it"}}'
    assert f"{told}\n" == end()
    assert list((tmp_path / ".config/mini-swe-agent/relay").iterdir()) == [], "it holds what the agent has printed"


def test_the_script_stays_until_the_program_has_ended(program):
    process = program("trap 'echo stopped; exit 143' TERM\necho ready\nwhile :; do sleep 0.05; done")
    assert process.stdout.readline() == b"ready\n"
    os.killpg(process.pid, signal.SIGTERM)  # as Relay does: to each of its processes
    assert process.stdout.read() == b"stopped\n"
    assert process.wait() == 143


def test_what_it_starts_does_not_ignore_an_interrupt(program):
    process = program("grep SigIgn /proc/self/status")
    ignored = int(process.stdout.read().split()[1], 16)
    assert process.wait() == 0
    assert not ignored & 1 << (signal.SIGINT - 1)


@pytest.mark.parametrize("given", [{"prompt": " "}, {"resume_session_id": "x"}])
def test_it_refuses_what_it_cannot_do(given):
    with pytest.raises(InvalidInput):
        plan_of(**given)


def read(*pieces):
    reader = MiniReader()
    for piece in pieces:
        reader.feed(piece.encode())
    return reader


def test_a_turn_that_submits():
    reader = read(HEAD, STEP, LAST, "Exit:\nAll done ✓\n", SAVED, end())
    assert reader.verdict(0).success
    assert (reader.summary, reader.agent_session_id) == ("All done ✓", None)
    assert reader.usage == {
        "input_tokens": 20,
        "cache_read_input_tokens": 3,
        "output_tokens": 10,
        "reasoning_tokens": 5,
        "cost_usd": 0.25,
        "turns": 2,
    }
    said, failed, finishing, submitted, last, usage = reader.entries()
    assert (said.kind, said.text) == (EntryKind.ASSISTANT, "I will.")
    assert (failed.tool.input, failed.tool.status) == ('{"command": "echo hi\\nexit 3"}', ToolStatus.FAILED)
    assert failed.tool.result == "<returncode>\n3\n<output>\nhi"
    assert (finishing.text, submitted.tool.status) == ("finishing", ToolStatus.COMPLETED)
    assert "not executed" not in submitted.tool.result
    assert (last.kind, last.text) == (EntryKind.ASSISTANT, "All done ✓")
    assert usage.kind is EntryKind.USAGE


@given(st.lists(st.integers(1, 500), max_size=30))
def test_pieces_do_not_matter(sizes):
    stream = (HEAD + STEP + LAST + "Exit:\n" + SAVED + end()).encode()
    reader = MiniReader()
    for size in sizes:
        reader.feed(stream[:size])
        stream = stream[size:]
    reader.feed(stream)
    assert reader.verdict(0).success
    assert reader.summary == "finishing"
    assert len(reader.entries()) == 5


@pytest.mark.parametrize(
    ("last", "status", "exit_code", "message"),
    [
        ("LimitsExceeded", "LimitsExceeded", 0, "LimitsExceeded"),
        (
            "litellm.BadRequestError: scripted error 400",
            "BadRequestError",
            1,
            "litellm.BadRequestError: scripted error 400",
        ),
        ("no more words", "SomeError", 1, "SomeError: no more words"),
    ],
)
def test_an_end_without_a_submission_is_a_failure_whatever_the_exit_code(last, status, exit_code, message):
    reader = read(HEAD, STEP, f"Exit:\n{last}\n", SAVED, end(status))
    verdict = reader.verdict(exit_code)
    assert (verdict.reason, verdict.message) == (Reason.AGENT_ERROR, message)
    assert [entry.text for entry in reader.entries() if entry.kind is EntryKind.ERROR] == [message]


def test_a_key_that_is_refused_brings_advice():
    ended = "Exit:\nlitellm.AuthenticationError: no\n"
    assert "OPENAI_API_KEY" in read(HEAD, ended, end("AuthenticationError")).verdict(1).message


def test_without_the_last_line_only_a_failure_is_known():
    assert read(HEAD, STEP).verdict(0).reason is Reason.AGENT_ERROR
    killed = read(HEAD, STEP, LAST.partition("Tool:")[0], end(""))
    assert killed.verdict(143).reason is Reason.EXIT_CODE
    assert killed.summary == "finishing"
    assert [entry.tool.status for entry in killed.entries() if entry.tool][-1] is ToolStatus.INTERRUPTED


def test_an_answer_without_a_command_is_complained_about():
    entries = read(HEAD, f"User:\nTool call error:\n{RULE}").entries()
    assert [(entry.kind, entry.text) for entry in entries] == [(EntryKind.NOTICE, "Tool call error:")]
