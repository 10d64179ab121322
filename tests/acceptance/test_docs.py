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
from relay_stack.status import current_state
from tests.support import recording
from tests.support.docs_commands import PAGES, ROOT, script_of

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

OTHER = "a run of a page"
"""Title of a run that is not README's, which its list of runs has if the other pages came first."""
README = ROOT / "README.md"
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
    yield environment | {"API": state.api_url, "TOKEN": state.token}
    take_down(base / "data", everything=True)
    shutil.rmtree(base)


def posted(environment: dict[str, str]) -> str:
    """Post a run, for a page that speaks of one; return its id."""
    executor = {"name": "shell", "command": "true"}
    body = {"repos": [{"url": f"file://{ROOT}"}], "prompt": "do it", "title": OTHER, "executor": executor}
    headers = {"Authorization": f"Bearer {environment['TOKEN']}"}
    answer = httpx.post(f"{environment['API']}/v1/runs", json=body, headers=headers, trust_env=False)
    return str(answer.raise_for_status().json()["run_id"])


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone of Relay as a person has it after `scripts/up`."""
    clone = tmp_path / "relay"
    subprocess.run(["git", "clone", "-q", ROOT, clone], check=True)
    subprocess.run(["git", "checkout", "-q", "-B", "main"], cwd=clone, check=True)
    (clone / ".venv").symlink_to(Path(sys.executable).parent.parent)
    (clone / ".git/info/exclude").write_text(".venv\n")  # .gitignore has the directory, and here it is a link
    return clone


def carried_out(script: str, environment: dict[str, str], checkout: Path, *options: str) -> str:
    """Run a script in a checkout; return what it printed on both streams."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", *options, "-c", script],
        cwd=checkout,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(
    "page", [page for page in PAGES if script_of(page) and page != README], ids=lambda page: page.name
)
def test_the_commands_of_a_page_run_as_printed(page: Path, environment: dict[str, str], checkout: Path):
    carried_out(script_of(page), environment | {"RUN": posted(environment)}, checkout, "-x")


def test_the_commands_of_readme_run_as_printed_and_as_recorded(environment: dict[str, str], checkout: Path):
    whole = carried_out(recording.telling(script_of(README)), environment | {"COLUMNS": "80"}, checkout)
    said = "".join(line for line in whole.splitlines(keepends=True) if OTHER not in line)
    names = {environment["API"]: "http://127.0.0.1:8700", str(checkout): "/home/you/relay"}
    now = recording.neutral(said, names | {environment["HOME"]: "/home/you"})
    if os.environ.get("RELAY_TEST_RECORD"):
        recording.write(now)
    assert recording.skeleton(recording.recorded()) == recording.skeleton(now), "scripts/record writes it anew"
