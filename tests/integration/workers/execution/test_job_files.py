"""A clone reads the job file of the target branch; what it says replaces the plan, or fails the clone with file and line."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from relay_core.domain.agents.profiles import BUILT_IN
from relay_core.domain.job_file import PATHS
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.store.executions import retry
from relay_core.store.nodes import placement
from relay_core.store.projects import clones, projects
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.projects.repos import ensure
from relay_core.store.schema.tables import ExecutionProcess, Project, ProjectRepo, Session, Workspace, WorkspaceRepo
from relay_core.store.workspaces.on_project import NewWorkspace, create_on_project
from relay_core.store.workspaces.submit import RepoInput, RunInput, start_run
from tests.support.fake_node import ME, FakeNode

pytest_plugins = ["tests.support.fake_node"]

SHELL = {"name": "shell", "command": "true"}
FULL = """\
image = "of-the-file"
setup = "true # setup of the file"
cleanup = "true # cleanup of the file"
dev_server = "serve"
working_dir = "app"
[limits]
memory_bytes = "3g"
pids = 200
"""


@pytest.fixture(scope="module")
def node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeNode]:
    images = ("of-the-file", "mine", "relay-codex:latest")
    made = FakeNode.make(module_database_url, tmp_path_factory.mktemp("node"), images=images)
    made.add_worker("first")
    yield made
    made.close()


def post(node: FakeNode, files: dict[str, str], executor: dict[str, Any] = SHELL, **of_run: Any) -> UUID:
    """Submit a run of a repository with these files; return its workspace's id."""
    repo = of_run.pop("repo", {})
    url = of_run.pop("url", None) or f"{node.url}/{uuid4().hex}"
    settings = node.settings.model_copy(update=of_run.pop("settings", {}))
    node.git.add_remote(url, "main", {"README": b"hello\n"} | {name: text.encode() for name, text in files.items()})
    run = RunInput([RepoInput(url, **repo)], "do it", executor, of_run.pop("limits", Limits()), **of_run)
    with node.database.begin() as connection:
        return start_run(connection, run, ME, settings, BUILT_IN).workspace_id


def clone(node: FakeNode, workspace_id: UUID) -> dict[str, Any]:
    execution_id = node.newest(workspace_id, RunReason.CLONE)["id"]
    node.workers[0].run(execution_id)
    return node.row(execution_id)


def stored(node: FakeNode, workspace_id: UUID) -> dict[str, Any]:
    with node.database.connect() as connection:
        workspace = connection.execute(select(*Workspace.__table__.columns).where(Workspace.id == workspace_id))
        repo = select(*WorkspaceRepo.__table__.columns).where(WorkspaceRepo.workspace_id == workspace_id)
        session = select(Session.executor, Session.executor_config).where(Session.workspace_id == workspace_id)
        rows = [workspace, connection.execute(repo), connection.execute(session)]
        return {name: value for row in rows for name, value in row.mappings().one().items()}


def steps(action: dict[str, Any]) -> list[tuple[str, str]]:
    """The steps that follow in a stored plan: their kinds and scripts."""
    found = []
    while action["next_action"]:
        action = action["next_action"]
        found += [(step["run_reason"], step.get("script", "")) for step in action["steps"]]
    return found


@pytest.mark.parametrize("path", PATHS)
def test_a_file_completes_the_run(node: FakeNode, path: str):
    workspace_id = post(node, {path: FULL, "app/README": ""})
    ended = clone(node, workspace_id)
    assert (ended["status"], ended["error_reason"]) == ("completed", None)
    assert steps(ended["executor_action"]) == [
        ("setup_script", "true # setup of the file"),
        ("coding_agent", ""),
        ("cleanup_script", "true # cleanup of the file"),
    ]
    row = stored(node, workspace_id)
    assert (row["resolved_image"], row["limits"]["memory_bytes"], row["job_terms"]) == ("of-the-file", 3 << 30, None)
    assert (row["working_dir"], row["dev_server_script"]) == ("app", "serve")
    container = node.containers.find(node.container(workspace_id))
    assert container is not None
    spec = container.spec
    assert (spec.image, spec.limits.memory_bytes, spec.limits.pids) == ("sha256:of-the-file", 3 << 30, 200)
    assert row["sources"]["image"] == row["sources"]["limits.pids"] == path
    setup = node.newest(workspace_id, RunReason.SETUP_SCRIPT)
    assert (setup["status"], setup["executor_action"]["step"]["cwd"]) == ("queued", f"repos/{row['name']}/app")
    assert f"{path} of main at ".encode() in node.log(ended["id"])
    node.workers[0].run(setup["id"])
    assert node.row(setup["id"])["status"] == "completed"


def on_project(node: FakeNode, files: dict[str, str], setup: str | None = None, **wanted: Any) -> UUID:
    """Make a workspace on a project whose repository has these files; return its id."""
    url = f"{node.url}/{uuid4().hex}"
    node.git.add_remote(url, "main", {"README": b"hello\n"} | {name: text.encode() for name, text in files.items()})
    repo = ProjectRepoInput(url, setup_script=setup)
    with node.database.begin() as connection:
        project_id = projects.create(connection, ProjectInput(uuid4().hex, repos=[repo]), ME)
        cloned = clones.start_clone(connection, project_id, "default", ME.owner)
    node.workers[0].run(cloned)
    new = NewWorkspace(project_id, wanted.pop("limits", Limits()), **wanted)
    with node.database.begin() as connection:
        return create_on_project(connection, new, ME, node.settings)


@pytest.mark.parametrize("setup", [None, "true # setup of the project"])
def test_a_file_completes_a_workspace_that_has_no_agent(node: FakeNode, setup: str | None):
    file = FULL + '[executor]\nname = "codex"\n'
    workspace_id = on_project(node, {"relay.toml": file, "app/README": ""}, setup)
    ended = clone(node, workspace_id)
    assert (ended["status"], ended["error_reason"]) == ("completed", None)
    assert steps(ended["executor_action"]) == [("setup_script", "true # setup of the file")]
    row = stored(node, workspace_id)
    assert (row["resolved_image"], row["limits"]["memory_bytes"], row["job_terms"]) == ("of-the-file", 3 << 30, None)
    assert (row["working_dir"], row["dev_server_script"]) == ("app", "serve")
    assert (row["executor"], row["executor_config"]) == (None, None)
    assert row["sources"]["limits.pids"] == row["sources"][f"repos.{row['name']}.setup_script"] == "relay.toml"
    assert "executor" not in row["sources"]
    node.workers[0].run(node.newest(workspace_id, RunReason.SETUP_SCRIPT)["id"])
    with node.database.connect() as connection:
        reasons = select(ExecutionProcess.run_reason).where(ExecutionProcess.workspace_id == workspace_id)
        assert set(connection.scalars(reasons)) == {"clone", "setup_script"}


def test_the_request_for_a_workspace_goes_over_the_file(node: FakeNode):
    limits = {"limits": Limits(pids=99), "named_limits": ["pids"]}
    workspace_id = on_project(node, {"relay.toml": FULL, "app/README": ""}, image="mine", **limits)
    assert clone(node, workspace_id)["status"] == "completed"
    row = stored(node, workspace_id)
    assert (row["resolved_image"], row["limits"]["pids"], row["limits"]["memory_bytes"]) == ("mine", 99, 3 << 30)
    assert row["sources"]["limits.pids"] == "request"


def test_a_workspace_can_leave_the_file_alone_and_a_fault_of_it_fails_its_clone(node: FakeNode):
    faulty = {"relay.toml": "nonsense = 1\n"}
    alone = on_project(node, faulty, "true # setup of the project", job_file=False)
    assert steps(clone(node, alone)["executor_action"]) == [("setup_script", "true # setup of the project")]
    assert stored(node, alone)["sources"][f"repos.{stored(node, alone)['name']}.setup_script"] == "project"
    ended = clone(node, on_project(node, faulty))
    assert (ended["status"], ended["reason"]) == ("failed", Reason.JOB_FILE_INVALID)
    assert "relay.toml" in ended["error_reason"]


def test_a_request_goes_over_the_file(node: FakeNode):
    repo = {"setup_script": "", "cleanup_script": "true # mine"}
    limits = {"limits": Limits(pids=99), "named_limits": ["pids"]}
    workspace_id = post(node, {"relay.toml": FULL}, image="mine", repo=repo, **limits)
    assert steps(clone(node, workspace_id)["executor_action"]) == [
        ("coding_agent", ""),
        ("cleanup_script", "true # mine"),
    ]
    row = stored(node, workspace_id)
    assert (row["resolved_image"], row["limits"]["pids"], row["limits"]["memory_bytes"]) == ("mine", 99, 3 << 30)
    assert row["sources"]["image"] == row["sources"]["limits.pids"] == "request"


def test_the_file_goes_over_the_project(node: FakeNode):
    url = f"{node.url}/of-a-project"
    with node.database.begin() as connection:
        project = {"id": uuid4(), "name": "p", "default_image": "mine", "created_by": ME.owner}
        connection.execute(Project.__table__.insert().values(project))
        repo_id = ensure(connection, [url], ME.owner)[url]
        scripts = {"setup_script": "true # of the project", "cleanup_script": "true # of the project"}
        link = {"project_id": project["id"], "repo_id": repo_id, **scripts}
        connection.execute(ProjectRepo.__table__.insert().values(link))
    workspace_id = post(node, {"relay.toml": 'setup = "true # of the file"'}, url=url, project_id=project["id"])
    plan = steps(clone(node, workspace_id)["executor_action"])
    assert [script for _, script in plan] == ["true # of the file", "", "true # of the project"]
    row = stored(node, workspace_id)
    name = row["name"]
    assert row["sources"] == {
        "image": "project",
        "executor": "request",
        f"repos.{name}.setup_script": "relay.toml",
        f"repos.{name}.cleanup_script": "project",
    }


def test_a_run_can_leave_the_file_alone(node: FakeNode):
    workspace_id = post(node, {"relay.toml": "no TOML"}, job_file=False)
    assert steps(clone(node, workspace_id)["executor_action"]) == [("coding_agent", "")]


FAULTS = {
    "syntax": ({"relay.toml": "a = 1\nimage ="}, "relay.toml:2: not TOML"),
    "key": ({".relay/relay.toml": "caches = []"}, ".relay/relay.toml:1: caches is not a key"),
    "two": (dict.fromkeys(PATHS, ""), "relay.toml:1: .relay/relay.toml is there too; remove one of them"),
    "large": ({"relay.toml": "#" * 20_000}, "relay.toml:1: the file is larger than 16384 bytes"),
    "maximum": ({"relay.toml": "\n[limits]\npids = 5000"}, "relay.toml:3: limits.pids must be between 16 and 4096"),
    "image": (
        {"relay.toml": 'image = "evil"'},
        "relay.toml:1: image 'evil' is not on this server's list; allowed: base",
    ),
    "registry": ({"relay.toml": 'image = "localhost/x"'}, "relay.toml:1: the registry of image 'localhost/x'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_fails_the_clone_with_file_and_line(node: FakeNode, fault: str):
    files, message = FAULTS[fault]
    allowed = {"allowed_images": ("base",)} if fault == "image" else {}
    workspace_id = post(node, files, settings=allowed, maxima={"pids": 4096.0})
    ended = clone(node, workspace_id)
    assert (ended["status"], ended["reason"]) == ("failed", Reason.JOB_FILE_INVALID)
    assert ended["error_reason"].startswith(message)
    row = stored(node, workspace_id)
    assert (row["state"], row["resolved_image"], row["job_terms"] is None) == ("failed", "base", False)


def test_a_corrected_file_is_read_by_the_retry(node: FakeNode):
    url = f"{node.url}/corrected"
    workspace_id = post(node, {"relay.toml": "x"}, url=url)
    assert clone(node, workspace_id)["status"] == "failed"
    node.git.add_remote(url, "main", {"relay.toml": b'setup = "true"'})
    with node.database.begin() as connection:
        retry.retry_workspace(connection, workspace_id, ME.owner)
    assert steps(clone(node, workspace_id)["executor_action"])[0] == ("setup_script", "true")


def test_a_file_asks_for_no_more_than_the_node_has_left(node: FakeNode):
    busy = post(node, {})
    assert clone(node, busy)["status"] == "completed"  # its agent is queued, so the node keeps 2 GiB for it
    workspace_id = post(node, {"relay.toml": '[limits]\nmemory_bytes = "3g"'})
    capacity = text("UPDATE runtime_nodes SET memory_bytes = :bytes")
    with node.database.connect() as connection:
        promised = placement.load_of(connection, "node").memory_bytes
    try:
        with node.database.begin() as connection:
            connection.execute(capacity, {"bytes": promised + (2 << 30)})
        ended = clone(node, workspace_id)
    finally:
        with node.database.begin() as connection:
            connection.execute(capacity, {"bytes": 1 << 60})
    assert ended["reason"] == Reason.JOB_FILE_INVALID
    assert ended["error_reason"].startswith("relay.toml:1: the node has no room for these limits now (")


def test_a_file_chooses_the_agent_of_a_run_that_names_none(node: FakeNode):
    workspace_id = post(node, {"relay.toml": '[executor]\nname = "codex"\nmodel = "m"'}, executor={})
    clone(node, workspace_id)
    row = stored(node, workspace_id)
    assert (row["executor"], row["executor_config"]["model"]) == ("codex", "m")
    agent = node.newest(workspace_id, RunReason.CODING_AGENT)["executor_action"]["step"]
    assert (agent["executor"]["name"], agent["executor"]["model"], agent["prompt"]) == ("codex", "m", "do it")


@pytest.mark.parametrize(
    ("agent", "image", "source"), [("codex", "relay-codex:latest", "agent"), ("qwen", "base", "default")]
)
def test_the_image_of_the_agent_is_taken_where_none_is_named_and_the_node_has_it(
    node: FakeNode, agent: str, image: str, source: str
):
    workspace_id = post(node, {}, executor={"name": agent})
    ended = clone(node, workspace_id)
    row = stored(node, workspace_id)
    assert (row["resolved_image"], row["sources"]["image"]) == (image, source)
    assert f"image {image} ".encode() in node.log(ended["id"])
