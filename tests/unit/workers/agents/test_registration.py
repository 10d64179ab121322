"""Each executor has what docs/adding-an-agent.md lists: its folder, docs rows, image stage and installation advice."""

import re
from pathlib import Path

import pytest

from relay_core.domain.agents.executors import ACP, EXECUTORS, ExecutorKind
from relay_core.domain.agents.packages import Runtime
from relay_stack.images.agent_images import AGENTS as AGENTS_OF_IMAGES
from relay_stack.images.build import RECIPES
from relay_workers.agents import programs, registry
from tests.support import matrix_cases

TESTS = Path(__file__).parents[3]
AGENTS_PAGE = (Path(__file__).parents[4] / "docs/agents.md").read_text()
DOCKERFILE = (RECIPES / "agents/Dockerfile").read_text()
WITH_PROGRAM = [kind for kind in EXECUTORS.values() if kind.program]
"""The executors of one agent each: all but `acp` and `shell`, whose command line names the program."""


def row(name: str, *, header: str) -> list[str]:
    """The cells of the row whose first cell names the executor, in the table with this header."""
    _, found, table = AGENTS_PAGE.partition(header)
    assert found, f"docs/agents.md has no table {header!r}"
    rows = [line.strip("|").split("|") for line in table.partition("\n\n")[0].splitlines() if line.startswith("|")]
    [cells] = [cells for cells in rows if name in (re.findall("`([^`]+)`", cells[0]) or [cells[0].strip()])]
    return [cell.strip() for cell in cells]


def test_the_registry_holds_exactly_the_executors_that_requests_can_name():
    assert set(registry.EXECUTORS) == set(EXECUTORS)


@pytest.mark.parametrize("name", EXECUTORS)
def test_it_has_a_folder_with_a_command_and_a_reader(name):
    folder = Path(registry.__file__).parent / name.replace("-", "_")
    assert {path.name for path in folder.glob("*.py")} >= {"__init__.py", "command.py", "reader.py"}


@pytest.mark.parametrize("kind", EXECUTORS.values(), ids=lambda kind: kind.name)
def test_its_row_in_the_docs_tells_program_follow_ups_and_modes(kind: ExecutorKind):
    _, program, _, follow_ups, modes = row(kind.name, header="| executor | program |")
    assert program.startswith(f"`{kind.program or 'command'}`")
    assert follow_ups.startswith("no") == (not kind.resumes)
    assert tuple(re.findall(r"`([a-z]+)`", modes)) == kind.permission_modes


@pytest.mark.parametrize("kind", [kind for kind in EXECUTORS.values() if kind.conversation], ids=lambda kind: kind.name)
def test_the_docs_tell_how_its_turns_are_judged(kind: ExecutorKind):
    assert row(kind.name, header="| the agent | is judged by |")[1]


@pytest.mark.parametrize("kind", WITH_PROGRAM, ids=lambda kind: kind.name)
def test_it_has_an_image_stage_advice_and_a_row_in_the_matrix(kind: ExecutorKind):
    install = programs.AGENT_INSTALLS[kind.program]
    assert install.image_name in AGENTS_OF_IMAGES
    assert f" AS {install.image_name}\n" in DOCKERFILE
    assert f"COPY --from={install.image_name} " in DOCKERFILE
    assert f"relay image build {install.image_name}" in programs.explain("x", [kind.program])
    assert install.command.startswith(("npm install ", "pip install "))
    assert row(install.image_name, header="<!-- matrix -->\n")[1]


@pytest.mark.parametrize("kind", WITH_PROGRAM, ids=lambda kind: kind.name)
def test_it_has_tests_with_its_real_program_and_a_case_of_the_matrix(kind: ExecutorKind):
    assert (TESTS / f"integration/workers/agents/test_executor_{kind.name.replace('-', '_')}.py").is_file()
    case = matrix_cases.AGENTS[kind.name]
    assert (case.name, case.resumes) == (kind.name, kind.resumes)


@pytest.mark.parametrize("kind", EXECUTORS.values(), ids=lambda kind: kind.name)
def test_it_has_a_package_if_it_has_a_program(kind: ExecutorKind):
    assert (kind.package is None) == (kind.program is None)


def test_the_script_of_the_images_knows_its_installer():
    script = (RECIPES / "agents/install.sh").read_text()
    lists = {name: set(words.split()) for name, words in re.findall(r'^(\w+)_AGENTS="(.*)"$', script, re.MULTILINE)}
    assert set().union(*lists.values()) == set(AGENTS_OF_IMAGES)
    for kind in WITH_PROGRAM:
        assert (kind.name in lists["PIP"]) == (kind.package.runtime is Runtime.PYTHON), kind.name


def test_the_protocols_library_has_an_image_stage_and_advice():
    assert ACP.name in AGENTS_OF_IMAGES
    assert f" AS {ACP.name}\n" in DOCKERFILE
    assert f"relay image build {ACP.name}" in programs.explain("x", [programs.ACP_PYTHON])
