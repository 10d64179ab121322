"""A file that is stored with a project reaches clones, and lies nowhere else in plain."""

import json
from pathlib import Path
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
from tests.support.relay import Relay, relay_command

pytestmark = pytest.mark.docker


def test_no_copy_of_a_stored_file_is_anywhere_but_in_the_clone(
    relay: Relay, repo: Path, tmp_path: Path, services_dir: Path
):
    secret = f"{uuid4().hex}/é+{uuid4().hex}"
    leaks = Leaks(secret)
    file = tmp_path / "of-a-person"
    file.write_text(f"TOKEN={secret}\n")
    redis_url = relay.environment["RELAY_REDIS_URL"]
    name = f"files {repo.parent.name}"
    with command_lines(leaks, "environ"), redis_commands(redis_url, leaks):
        relay_command(relay, "project", "create", name, "--repo", str(repo))
        put = relay_command(relay, "project", "files", "put", name, str(file), "--to", "config/.env")
        listed = relay_command(relay, "project", "files", "list", name)
        check = "grep -q TOKEN= config/.env && stat -c %a config/.env && git add -A && echo more >>README.md"
        run = relay.submit(repo, check, project_id=name, setup_script="test -s config/.env")
        steps = {one["run_reason"]: one for one in relay.wait_chain(run)}
    assert "config/.env" in listed.stdout
    leaks.of("the answers of commands", put.stdout + put.stderr + listed.stdout)
    assert [one["status"] for one in steps.values()] == ["completed"] * 3, steps
    assert relay.log(steps["coding_agent"]["id"], "stdout") == b"644\n"
    assert b"copied 1 files that git does not have: config/.env" in relay.log(steps["clone"]["id"])
    [state] = steps["coding_agent"]["repo_states"]
    assert state["committed"], "what the agent changed is committed, and only that"
    workspace = relay.data_dir / "workspaces" / run["workspace_id"]
    copy = workspace / "repos" / repo.name / "config" / ".env"
    assert copy.read_text() == f"TOKEN={secret}\n"
    leaks.must_see(copy.read_bytes())
    copy.unlink()
    leaks.of("docker inspect", json.dumps(relay.container(run).attrs))
    paths = [f"/v1/projects/{run['project_id']}/files", f"/v1/workspaces/{run['workspace_id']}/diff"]
    paths += [f"/v1/executions/{one['id']}{tail}" for one in steps.values() for tail in ("", "/logs", "/events")]
    for path in (*paths, "/v1/events"):
        answer = relay.http.get(path)
        assert answer.status_code == 200, answer.text
        leaks.of(path, answer.content)
    others = {each for each in workspace.parent.iterdir() if each != workspace}
    for where, found in (
        *everything_in_postgres(relay),
        *everything_in_redis(redis_url),
        *files_below(relay.root, services_dir, but=others),
    ):
        leaks.of(where, found)
