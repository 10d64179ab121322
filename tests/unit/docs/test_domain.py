"""docs/domain.md names column, routes and test of each field; the script that writes it tells of what nothing claims."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from relay_core.store.schema.tables import Base

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
import domain  # noqa: E402

TABLES = {table.name: [column.name for column in table.columns] for table in Base.metadata.sorted_tables}


@pytest.fixture(scope="module")
def api() -> domain.Api:
    return domain.Api()


@pytest.fixture
def described() -> dict[str, Any]:
    return tomllib.loads(domain.MAP.read_text())


def test_the_page_is_current():
    done = subprocess.run(
        [sys.executable, "scripts/domain.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_column_and_a_table_that_nothing_claims_are_told(api: domain.Api, described: dict[str, Any]):
    tables = {**TABLES, "tasks": [*TABLES["tasks"], "colour"], "paints": ["id"]}
    told = domain.Page(described, api, tables).problems()
    assert [line for line in told if line.startswith("Task.colour: GET /v1/tasks/{task_id} does not show colour")]
    assert "paints is neither a table of an entity nor in [own] of domain.toml" in told


def test_a_field_of_the_domain_model_without_a_route_or_a_test_is_told(api: domain.Api, described: dict[str, Any]):
    [profile] = [each for each in described["entity"] if each["name"] == "SessionProfile"]
    profile["model"] += ["colour"]
    told = domain.Page(described, api, TABLES).problems()
    assert len(told) == 1
    assert told[0].startswith("SessionProfile.colour: GET /v1/profiles/{name} does not show colour")
    profile["model"][-1:] = ["name"]
    profile["proof"] = {"name": "tests/unit/docs/test_domain.py::test_that_is_not_there"}
    assert "no test of" in domain.Page(described, api, TABLES).problems()[0]


def test_every_entity_of_the_domain_model_is_there(described: dict[str, Any]):
    assert {each["name"] for each in described["entity"]} >= {
        *("Project", "ProjectRepo", "Repo", "Task", "TaskImage", "Workspace", "WorkspaceRepo", "Session"),
        *("ExecutionProcess", "ExecutionProcessRepoState", "ExecutionProcessLogs", "CodingAgentTurn"),
        *("Merge", "Image", "Tag", "Scratch", "SessionProfile"),
    }


def test_each_column_is_named_by_code():
    """A reminder: a column that no code reads or writes is in the way of everybody who looks for its meaning."""
    sources = [path for path in (ROOT / "src").rglob("*.py") if "versions" in path.parts or "schema" not in path.parts]
    code = "\n".join(path.read_text() for path in sources)
    assert [f"{table}.{name}" for table, names in TABLES.items() for name in names if name not in code] == []
