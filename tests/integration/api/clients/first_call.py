"""README's first call through the client that openapi-python-client made: BASE_URL TOKEN REPO_URL."""

import json
import sys

from relay_client import AuthenticatedClient
from relay_client.api.runs import create_run, get_run
from relay_client.models import ExecutorIn, ExecutorInName, Problem, RepoIn, RunDetail, RunIn, RunOut, RunStatus

base_url, token, repo_url = sys.argv[1:]
relay = AuthenticatedClient(base_url=base_url, token=token, raise_on_unexpected_status=True)
body = RunIn(
    repos=[RepoIn(url=repo_url, setup_script="python3 --version")],
    prompt="Count the files",
    executor=ExecutorIn(name=ExecutorInName.SHELL, command="git ls-files | wc -l > COUNT; echo counted"),
)
made = create_run.sync(client=relay, body=body)
assert isinstance(made, RunOut), made
run = get_run.sync(str(made.run_id), client=relay)
assert isinstance(run, RunDetail), run
assert run.status is RunStatus.QUEUED
missing = get_run.sync("00000000-0000-4000-8000-000000000000", client=relay)
assert isinstance(missing, Problem), missing
print(json.dumps({"sent": body.to_dict(), "run": run.to_dict(), "missing": missing.code}))
