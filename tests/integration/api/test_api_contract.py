"""The OpenAPI document against the server: what it promises holds for whatever schemathesis thinks of."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from relay_core.store.schema.tables import Workspace
from relay_core.store.transaction import Database
from tests.support.api_fixtures import RUN, Api, Worker, api_on_a_port, settings_for

KEY = base64.urlsafe_b64encode(bytes(32)).decode()

CONFIG = """
[generation]
max-examples = {examples}
deterministic = true
[checks]
# A body can be right by its schema and still not be one for this server (a host that may not be cloned, an image that
# is not on the list, a cursor that no answer gave): 422 says so, and is documented.
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "409", "416", "422"]
"""

HOOKS = '''
"""Values that a schema cannot describe, where the generated ones are right by the schema: so that runs are made."""

import schemathesis


@schemathesis.hook
def before_load_schema(context, raw_schema):
    """Leave out what takes most of the time to make: texts as long as scripts, and texts without NUL by a pattern.

    Tests of the API's bounds try both.
    """
    ease(raw_schema)


def ease(schema):
    if isinstance(schema, list):
        for each in schema:
            ease(each)
    if isinstance(schema, dict):
        if isinstance(schema.get("maxLength"), int) and schema["maxLength"] > 1000:
            del schema["maxLength"]
        if isinstance(schema.get("pattern"), str) and "u0000" in ascii(schema["pattern"]):
            del schema["pattern"]
        for each in schema.values():
            ease(each)


@schemathesis.hook
def before_call(context, case, kwargs):
    body, query = case.body, case.query or {}
    if str(query.get("follow")).lower() in ("1", "true", "t", "on", "yes", "y"):
        query["follow"] = "0"  # a log that is followed has no end here
    if not isinstance(body, dict):
        return
    for repo in body.get("repos") or [] if isinstance(body.get("repos"), list) else []:
        if isinstance(repo, dict):
            if text(repo.get("url"), 2048):
                repo["url"] = "https://git.example.org/%d.git" % id(repo)
            if text(repo.get("target_branch"), 200):
                repo["target_branch"] = "main"
            if text(repo.get("ref"), 200):
                repo["ref"] = "v1"
    if text(body.get("project_id"), 255):
        body["project_id"] = None
    executor = body.get("executor")
    if isinstance(executor, dict) and executor.get("name") == "shell" and executor.get("command") in (None, ""):
        executor["command"] = "cat"
    for name in ("variant", "model", "args", "permission_mode", "reasoning_effort"):
        if isinstance(executor, dict) and (text(executor.get(name), 255) or executor.get(name) == ["0"]):
            executor[name] = None
    if body.get("secrets") in (["A"], {"A": "A"}, ["ANTHROPIC_API_KEY"], {"NPM_TOKEN": "registry_token"}):
        body["secrets"] = []


def text(value, most):
    return isinstance(value, str) and 0 < len(value) <= most and chr(0) not in value
'''


@pytest.fixture
def api(database: Database, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url, secret_keys=KEY)) as api:
        yield api


@pytest.fixture
def worker(database: Database) -> Worker:
    return Worker(database)


def check(api: Api, tmp_path: Path, *options: str, examples: int) -> str:
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG.format(examples=examples))
    (tmp_path / "hooks_of_relay.py").write_text(HOOKS)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
    command += [f"{api.client.base_url}/openapi.json", "--header", f"Authorization: Bearer {api.tokens['admin']}"]
    # A loaded machine is slow, not the schema.
    command += ["--suppress-health-check", "too_slow"]
    command += ["--checks", "all", "--no-color", *options]
    environment = os.environ | {"SCHEMATHESIS_HOOKS": "hooks_of_relay", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-15_000:] + done.stderr[-3000:]
    return done.stdout


def operations(api: Api) -> int:
    """How many of them were to be tried."""
    paths = api.get("/openapi.json").json()["paths"]
    found = [
        one["operationId"] for path, each in paths.items() if not path.endswith("/stream") for one in each.values()
    ]
    return len(set(found) - {"revoke_token"})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_no_violation_on_any_operation(api: Api, worker: Worker, tmp_path: Path):
    made = api.run(repos=[{**RUN["repos"][0], "dev_server_script": "serve"}])
    worker.finish(worker.claim(made["execution_id"]))
    # Streams of what runs have no end; and a client that revokes random tokens revokes the tester's own.
    options = ("--exclude-path-regex", "/stream$", "--exclude-operation-id", "revoke_token")
    said = check(api, tmp_path, *options, "--phases", "examples,coverage,fuzzing", examples=5)
    assert f"{operations(api)} passed" in said
    # It was not all refusals.
    with api.database.connect() as connection:
        made_up = connection.scalar(select(func.count()).select_from(Workspace))
    assert made_up > 1


def test_no_violation_when_tokens_are_revoked(api: Api, tmp_path: Path):
    check(api, tmp_path, "--include-operation-id", "revoke_token", "--phases", "coverage,fuzzing", examples=5)


@pytest.mark.slow
def test_what_was_deleted_stays_away(api: Api, tmp_path: Path):
    options = ("--exclude-path-regex", "/stream$|tokens")
    check(api, tmp_path, *options, "--phases", "stateful", "--max-time", "25", examples=6)
