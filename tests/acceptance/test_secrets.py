"""A secret that a step prints in every form, in small writes: where it may be afterwards, and who else can have it."""

import base64
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.leaks import (
    Leaks,
    command_lines,
    everything_in_postgres,
    everything_in_redis,
    files_below,
    redis_commands,
)
from tests.support.relay import Relay, adopted, relay_command, step

pytestmark = pytest.mark.docker


PRINT = """python3 - <<'END'
import base64, json, os, subprocess
from urllib.parse import quote, quote_plus
secret = os.environ["SEKRET"]
raw, mixed = secret.encode(), []
for before in (b"", b"a", b"ab", b"user:"):
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        mixed += [encode(before + raw), encode(before + raw + b" and more")]
mixed.append(subprocess.run(["base64"], input=raw * 3, capture_output=True).stdout)
in_json = json.dumps({"key": secret})
texts = [secret, quote(secret), quote(secret, safe=""), quote_plus(secret), "".join("%%%02x" % b for b in raw),
         in_json, json.dumps(in_json), in_json.replace("/", "\\\\/"), raw.hex(), raw.hex().upper()]
out = b"\\n".join([each.encode() for each in texts] + mixed + [raw + raw, b"the end\\n"])
for fd in (1, 2):
    for at in range(0, len(out), 3):
        os.write(fd, out[at:at + 3])
END
"""
HOLD = """printf %s "$SEKRET" >/workspace/home/kept
mkfifo -m 666 /workspace/home/gate
echo $$ >/workspace/home/pid
cat /workspace/home/gate
"""
SPY = """test -e /proc/$(cat /workspace/home/pid)/environ && echo "it is there"
cat /proc/[0-9]*/environ | tr '\\0' '\\n' | sed -n 's/^SEKRET=.*/FOUND/p; s/^RELAY_EXECUTION_ID=/of /p' | sort -u
cat /proc/$(cat /workspace/home/pid)/environ || echo "closed"
echo >/workspace/home/gate
exec python3 -m http.server $PORT --bind $HOST
"""


def followed(relay: Relay, execution_id: str, live: dict[str, bytes]) -> None:
    """The live log as its readers have it, of each stream."""
    with relay.http.stream("GET", f"/v1/executions/{execution_id}/logs/stream", timeout=60) as answer:
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name == "event" and value == "end":
                return
            if name == "data" and "b64" in value:
                piece = json.loads(value)
                live[piece["stream"]] = live.get(piece["stream"], b"") + base64.b64decode(piece["b64"])


@pytest.fixture
def secret() -> str:
    return f'{uuid4().hex[:16]}/"<é>+= {uuid4().hex}'


@dataclass
class PrintedSecret:
    """A run that has printed its secret, and a dev server of its workspace that looked for it."""

    relay: Relay
    secret: str
    leaks: Leaks
    run: dict[str, Any]
    steps: dict[str, dict[str, Any]]
    spy: dict[str, Any]
    live: dict[str, bytes]
    """Every byte that a reader of the agent's live log received, of each stream."""
    printed: dict[str, Any] = field(init=False)
    """A later step that prints the file into which the agent wrote the secret."""

    @property
    def workspace(self) -> str:
        return f"/v1/workspaces/{self.run['workspace_id']}"

    @property
    def home(self) -> Path:
        return self.relay.data_dir / "workspaces" / self.run["workspace_id"] / "home"

    def check_logs(self) -> None:
        agent = self.steps["coding_agent"]
        assert agent["status"] == "completed"
        log = self.relay.log(agent["id"], "stdout")
        assert log.endswith(b"the end\n\n")
        assert log.count(b"*" * len(self.secret.encode())) >= 5
        assert [self.live[stream].count(b"the end") for stream in ("stdout", "stderr")] == [1, 1]
        for reason in ("setup_script", "cleanup_script"):
            shown = self.relay.log(self.steps[reason]["id"])
            assert b"RELAY_EXECUTION_ID" in shown
            assert b"SEKRET" not in shown

    def check_environments(self) -> None:
        seen = self.relay.log(self.spy["id"], "stdout").decode().splitlines()
        assert seen[0] == "it is there"
        assert f"of {self.spy['id']}" in seen, "it can read its own"
        assert f"of {self.steps['coding_agent']['id']}" not in seen
        assert "FOUND" not in seen
        assert "closed" in seen

    def print_again(self) -> None:
        script = "cat /workspace/home/kept; base64 /workspace/home/kept"
        self.printed = step(self.relay, self.run, run_reason="setup_script", script=script)
        assert self.relay.log(self.printed["id"], "stdout").startswith(b"*" * len(self.secret.encode()))

    def stop_spy(self) -> None:
        self.relay.http.delete(f"{self.workspace}/dev-server")
        self.relay.wait_step(self.run, "dev_server", {"killed"})

    def check_answers(self) -> None:
        for stream, data in self.live.items():
            self.leaks.of(f"the live log of {stream}", data)
        paths = [self.workspace + tail for tail in ("", "/executions", "/events", "/diff")]
        executions = (*self.steps.values(), self.spy, self.printed)
        paths += [f"/v1/executions/{one['id']}" + tail for one in executions for tail in ("", "/logs")]
        paths += [f"/v1/projects/{self.run['project_id']}", f"/v1/projects/{self.run['project_id']}/secrets"]
        for path in paths:
            answer = self.relay.http.get(path)
            assert answer.status_code == 200, answer.text
            self.leaks.of(path, answer.content)

    def check_stores(self, services_dir: Path) -> None:
        kept = self.home / "kept"
        self.leaks.must_see(kept.read_bytes())
        kept.unlink()
        # Of other tests, with all that these leave there (a file of a terabyte of nothing).
        workspaces = self.relay.data_dir / "workspaces"
        others = {each for each in workspaces.iterdir() if each.name != self.run["workspace_id"]}
        for where, found in (
            *everything_in_postgres(self.relay),
            *everything_in_redis(self.relay.environment["RELAY_REDIS_URL"]),
            *files_below(self.relay.root, services_dir, but=others),
        ):
            self.leaks.of(where, found)


def store_secret(relay: Relay, repo: Path, secret: str, leaks: Leaks) -> None:
    said = relay_command(relay, "secret", "set", "TOKEN", "--repo", str(repo), stdin=secret + "\n")
    listed = relay_command(relay, "secret", "list", "--repo", str(repo), "--json").stdout
    assert [one["name"] for one in json.loads(listed)] == ["TOKEN"]
    leaks.of("the command line's answers", said.stdout + said.stderr + listed)


def check_engine(relay: Relay, run: dict[str, Any], leaks: Leaks) -> None:
    leaks.of("docker inspect", json.dumps(relay.container(run).attrs))


def run_that_prints(relay: Relay, repo: Path, secret: str, leaks: Leaks) -> PrintedSecret:
    """Watches command lines and Redis while the agent prints, the dev server looks, and the chain ends."""
    live: dict[str, bytes] = {}
    scripts = {"setup_script": "env", "cleanup_script": "env", "dev_server_script": SPY}
    with command_lines(leaks), redis_commands(relay.environment["RELAY_REDIS_URL"], leaks):
        run = relay.submit(f"file://{repo}", f"touch changed\n{PRINT}{HOLD}", secrets={"SEKRET": "TOKEN"}, **scripts)
        agent = relay.wait_step(run, "coding_agent", {"running"})
        reader = threading.Thread(target=followed, args=(relay, agent["id"], live))
        reader.start()
        workspace = relay.data_dir / "workspaces" / run["workspace_id"]
        relay.until((workspace / "home" / "pid").exists)
        leaks.must_see(
            b"".join(data for _, data in files_below(relay.data_dir / "executions" / agent["id"]))
        )  # it has printed it
        check_engine(relay, run, leaks)
        assert relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server").status_code == 202
        spy = relay.wait_step(run, "dev_server", {"running"})
        steps = {one["run_reason"]: one for one in relay.wait_chain(run)}
        reader.join(30)
    return PrintedSecret(relay, secret, leaks, run, steps, spy, live)


def test_nothing_is_left_of_a_secret_that_was_printed(relay: Relay, repo: Path, secret: str, services_dir: Path):
    leaks = Leaks(secret)
    store_secret(relay, repo, secret, leaks)
    printing = run_that_prints(relay, repo, secret, leaks)
    printing.check_logs()
    printing.check_environments()
    printing.print_again()
    printing.stop_spy()
    printing.check_answers()
    printing.check_stores(services_dir)


def test_a_worker_that_takes_over_masks_what_the_one_before_it_gave(relay: Relay, repo: Path, secret: str):
    set_it = ("secret", "set", "TOKEN", "--repo", str(repo))
    relay_command(relay, *set_it, stdin=secret)
    hold = 'mkfifo /workspace/home/gate; printf "%s|" "$TOKEN"; cat /workspace/home/gate; printf "%s|" "$TOKEN"'
    run = relay.submit(repo, hold + '; printf "%s\n" "$TOKEN" >new.txt', secrets=["TOKEN"])
    agent = relay.wait_step(run, "coding_agent", {"running"})
    gate = relay.data_dir / "workspaces" / run["workspace_id"] / "home" / "gate"
    relay.until(gate.exists)
    relay.kill_9("worker")
    relay_command(relay, *set_it, stdin="quite another value")
    relay_command(relay, "secret", "delete", "TOKEN", "--repo", str(repo))
    relay.start("worker")
    relay.until(lambda: adopted(relay, agent["id"]), 60, "the adoption")
    gate.write_text("go|")
    ended = relay.wait_chain(run)[-1]
    assert ended["status"] == "completed"
    stars = b"*" * len(secret.encode())
    assert relay.log(agent["id"], "stdout") == stars + b"|go|" + stars + b"|"
    patch = relay.http.get(f"/v1/executions/{agent['id']}/diff", headers={"Accept": "text/x-diff"}).content
    assert b"+" + stars in patch, "what it wrote into the repository is masked where Relay shows it"
    bundle = relay.http.get(f"/v1/workspaces/{run['workspace_id']}/bundle")
    assert (bundle.status_code, bundle.json()["code"]) == (404, "no_bundle"), "commits cannot be masked, so they stay"
    assert "its commits contain a secret" in bundle.json()["detail"]
    leaks = Leaks(secret)
    for where, found in everything_in_postgres(relay):
        leaks.of(where, found)


def test_a_retry_gets_the_value_of_its_day_and_a_deleted_secret_is_named(relay: Relay, repo: Path, secret: str):
    set_it = ("secret", "set", "TOKEN", "--repo", str(repo))
    relay_command(relay, *set_it, stdin=secret)
    body = {"secrets": ["TOKEN"], "secrets_in": ["coding_agent", "setup_script"]}
    run = relay.submit(
        repo, "exit 3", setup_script='printf %s "$TOKEN" | wc -c; printf %s "$TOKEN" >../../home/kept', **body
    )
    first = relay.wait_chain(run)[-1]
    assert (first["status"], first["reason"]) == ("failed", "exit_code")
    relay_command(relay, *set_it, stdin="quite another value")
    again = relay.http.post(f"/v1/executions/{first['id']}/retry", json={"run_agent_again": True})
    assert again.status_code == 202, again.text
    relay.wait_step(run, "coding_agent", {"failed"})

    shown = step(relay, run, run_reason="setup_script", script='printf %s "$TOKEN" | wc -c; printf "%s|" "$TOKEN"')
    assert relay.log(shown["id"], "stdout").split() == [b"19", b"*" * 19 + b"|"]
    words = ("--command", 'printf %s "$MINE" | wc -c', "--secret", "TOKEN=MINE", "go")
    assert "19\n" in relay_command(relay, "run", "--repo", str(repo), *words).stdout
    relay_command(relay, "secret", "delete", "TOKEN", "--repo", str(repo))
    refused = step(relay, run, run_reason="setup_script", script="true")
    assert (refused["status"], refused["reason"]) == ("failed", "secret_missing")
    assert "the secret TOKEN was deleted; store it again: relay secret set TOKEN" in refused["error_reason"]

    cleanup = step(
        relay, run, run_reason="cleanup_script", script="cat ../../home/kept; echo; echo quite another value"
    )
    old = b"*" * len(secret.encode())
    assert relay.log(cleanup["id"], "stdout").split() == [old, b"*" * 19], "what was given is masked ever after"
