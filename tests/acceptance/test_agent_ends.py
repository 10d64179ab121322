"""How turns of an agent end where its protocol says little: a program of ours in its place prints what it would."""

from typing import Any

from tests.support.relay import Relay, make_repo

SESSION = "0b8f8f4e-2d62-4a7b-9c1e-6f1d2a3b4c5d"
AGENT = f"""#!/bin/sh
case $(cat) in
hang) exec sleep 600 ;;
flag)
    echo "error: unknown option '--no-such-flag'" >&2
    exit 1
    ;;
retry)
    echo '{{"type":"system","subtype":"api_retry","error":"overloaded","error_status":529}}'
    exec sleep 600
    ;;
work)
    echo '{{"type":"assistant","session_id":"{SESSION}","message":{{"content":[{{"type":"text","text":"Done."}}]}}}}'
    echo '{{"type":"result","subtype":"success","is_error":false,"num_turns":1,"session_id":"{SESSION}","result":"Done."}}'
    ;;
esac
"""
CHOICE = {"name": "claude-code", "command": "sh agent.sh"}


def follow_up(relay: Relay, run: dict[str, Any], prompt: str) -> dict[str, Any]:
    answer = relay.http.post(f"/v1/sessions/{run['session_id']}/follow-ups", json={"prompt": prompt})
    assert answer.status_code == 202, answer.text
    return relay.wait_end(answer.json()["id"])


def entries(relay: Relay, execution: dict[str, Any]) -> list[tuple[str, str]]:
    items = relay.get(f"/v1/executions/{execution['id']}/conversation")["items"]
    return [(item["kind"], item["text"]) for item in items]


def test_causes_are_named_and_a_session_whose_agent_never_spoke_is_begun_anew(relay: Relay, tmp_path):
    repo = make_repo(tmp_path / "app", {"agent.sh": AGENT})
    run = relay.submit(repo, executor=CHOICE, prompt="hang", limits={"no_output_seconds": 4, "kill_grace_seconds": 1})
    agent = relay.wait_step(run, "coding_agent", {"running"})
    relay.kill(agent["id"])
    relay.wait_step(run, "coding_agent", {"killed"})

    failed = follow_up(relay, run, "flag")
    assert (failed["status"], failed["reason"]) == ("failed", "exit_code")
    assert "unknown option '--no-such-flag'" in failed["error_reason"]
    (begun, notice), (kind, cause) = entries(relay, failed)
    assert (begun, kind) == ("notice", "error")
    assert "this turn begins a new one" in notice
    assert cause == failed["error_reason"]
    told = [event["kind"] for event in relay.get(f"/v1/executions/{failed['id']}/events")["items"]]
    assert "execution.conversation_begun_anew" in told

    silent = follow_up(relay, run, "retry")
    assert (silent["status"], silent["reason"]) == ("failed", "no_output")
    assert "the agent's last error: overloaded (status 529), tried again" in silent["error_reason"]

    done = follow_up(relay, run, "work")
    assert (done["status"], done["turn"]["agent_session_id"]) == ("completed", SESSION), done["error_reason"]
    assert entries(relay, done)[0][0] == "notice"
    again = follow_up(relay, run, "work")
    assert (again["status"], entries(relay, again)[0]) == ("completed", ("assistant", "Done.")), again["error_reason"]
