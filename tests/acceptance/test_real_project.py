"""The whole job on a published project with its own test suite: setup, tests, a commit, cleanup, dev server; and back."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.support.relay import Relay, git

pytestmark = pytest.mark.docker

SDIST = "six==1.16.0"
README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The sdist as its authors published it, committed into a fresh repository."""
    root = tmp_path_factory.mktemp("sdist")
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:", SDIST, "-d", root]
    subprocess.run(command, check=True, capture_output=True, timeout=180)
    # By a program: `tarfile` has its safe filter since Python 3.11.4 only, and Debian 12 has 3.11.2.
    subprocess.run(["tar", "-xzf", next(root.glob("*.tar.gz")), "--no-same-owner", "-C", root], check=True)
    repo = next(path for path in root.iterdir() if path.is_dir())
    git("init", "-q", "-b", "main", ".", cwd=repo)
    git("add", "-A", cwd=repo)
    git("commit", "-qm", "as published", cwd=repo)
    return repo


def test_a_published_project(relay: Relay, project):
    run = relay.submit(
        project,
        "export PYTHONDONTWRITEBYTECODE=1; . /workspace/cache/venv/bin/activate && python -m pytest -q -p no:cacheprovider test_six.py && "
        "echo 'Tested by Relay.' >> README.rst && git commit -qam 'Say that it was tested' && echo finished",
        setup_script="python3 -m venv /workspace/cache/venv && /workspace/cache/venv/bin/pip install -q pytest && echo ready",
        cleanup_script="find . -name __pycache__ -prune -exec rm -rf {} + ; git status --porcelain",
        dev_server_script="exec python3 -m http.server $PORT --bind $HOST",
    )
    steps = relay.wait_chain(run, seconds=240)
    assert [(step["run_reason"], step["status"], step["exit_code"]) for step in steps] == [
        (reason, "completed", 0) for reason in ("clone", "setup_script", "coding_agent", "cleanup_script")
    ]
    clone, setup, agent, cleanup = (step["repo_states"][0] for step in steps)
    published = git("rev-parse", "main", cwd=project)
    assert clone["after_head_commit"] == setup["before_head_commit"] == setup["after_head_commit"] == published
    assert agent["before_head_commit"] == published
    assert agent["after_head_commit"] == cleanup["before_head_commit"] == cleanup["after_head_commit"] != published
    assert agent["dirty"] is False
    assert relay.log(steps[2]["id"], "stdout").endswith(b"finished\n")
    assert b" passed" in relay.log(steps[2]["id"], "stdout")
    for step in steps:
        for stream, info in step["logs"].items():
            data = relay.log(step["id"], stream)
            assert (info["bytes"], info["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    patch = relay.http.get(f"/v1/workspaces/{run['workspace_id']}/diff", headers={"Accept": "text/x-diff"}).text
    assert "+Tested by Relay." in patch
    assert relay.http.post(f"/v1/workspaces/{run['workspace_id']}/dev-server").status_code == 202
    url = relay.until(lambda: (relay.get(f"/v1/workspaces/{run['workspace_id']}").get("dev_server") or {}).get("url"))
    assert "Tested by Relay." in httpx.get(f"{url}/README.rst").text


def test_the_readme_brings_a_run_home(relay: Relay, project: Path, tmp_path: Path):
    """The commands of the README, as they are printed, in a clone of the project."""
    block = re.search(r"A project of yours.*?```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert block is not None
    clone = tmp_path / "six"
    git("clone", "-q", str(project), str(clone), cwd=tmp_path)
    published = git("rev-parse", "HEAD", cwd=clone)
    paths = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    environment = {"RELAY_API_URL": relay.api_url, "RELAY_TOKEN": relay.token, "PROJECT": str(clone), "PATH": paths}
    done = subprocess.run(
        ["sh", "-e", "-c", block[1]], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert git("rev-parse", "HEAD^", "main", "tested", cwd=clone).split() == [
        published,
        *[git("rev-parse", "HEAD", cwd=clone)] * 2,
    ]
    assert git("show", "--format=", "--name-only", "HEAD", cwd=clone) == "RESULT", "no cache and no .venv"
    assert " passed" in (clone / "RESULT").read_text()
    assert (clone / "COUNT").read_text() == "1 TODO\n"
    assert git("status", "--porcelain", cwd=clone).split() == ["??", "COUNT", "??", "TODO"]
    workspace = relay.get("/v1/workspaces", limit=1)["items"][0]
    assert workspace["repos"][0]["ref"].startswith("refs/relay/changes/")
