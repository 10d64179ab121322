"""The commands of README and docs, run as they are printed, on a stack of their own."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from relay_stack.down import take_down
from relay_stack.files.stack_state import StackState
from relay_stack.status import current_state
from tests.support.docs_commands import PAGES, ROOT, script_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

UP = "from relay_stack.bring_up import *; bring_up(UpOptions(detach=True, yes=True, sample=False))"


@pytest.fixture(autouse=True)
def say_what_the_worker_said() -> None:
    """In place of the folder's own: the stack here has logs of its own, and needs no other Relay beside it."""


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """The environment of a person who has started the stack, in a folder that Postgres' account can enter."""
    base = Path(tempfile.mkdtemp(prefix="relay-docs-"))
    base.chmod(0o711)
    given = {name: value for name, value in os.environ.items() if not name.startswith("RELAY_")}
    environment = {**given, "RELAY_DATA_DIR": str(base / "data"), "HOME": str(base)}
    git = {"user.name": "Someone", "user.email": "someone@example.org", "init.defaultBranch": "main"}
    for number, (key, value) in enumerate(git.items()):
        environment |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    environment["GIT_CONFIG_COUNT"] = str(len(git))
    subprocess.run([sys.executable, "-c", UP], env=environment, check=True, timeout=240)
    state = current_state(base / "data")
    assert state is not None
    environment |= {"API": state.api_url, "TOKEN": state.token, "RUN": posted(state)}
    yield environment
    take_down(base / "data", everything=True)
    shutil.rmtree(base)


def posted(state: StackState) -> str:
    """Post a run, for the pages that speak of one; return its id."""
    executor = {"name": "shell", "command": "true"}
    body = {"repos": [{"url": f"file://{ROOT}"}], "prompt": "do it", "executor": executor}
    headers = {"Authorization": f"Bearer {state.token}"}
    answer = httpx.post(f"{state.api_url}/v1/runs", json=body, headers=headers, trust_env=False)
    return str(answer.raise_for_status().json()["run_id"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of Relay as a person has it after `scripts/up`."""
    subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "relay"], check=True)
    (tmp_path / "relay/.venv").symlink_to(Path(sys.executable).parent.parent)
    return tmp_path / "relay"


@pytest.mark.parametrize("page", [page for page in PAGES if script_of(page)], ids=lambda page: page.name)
def test_the_commands_of_a_page_run_as_printed(page: Path, environment: dict[str, str], checkout: Path):
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-xc", script_of(page)],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n--- stderr\n{done.stderr}"
