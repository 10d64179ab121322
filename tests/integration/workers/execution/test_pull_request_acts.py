"""Pull requests as merges: opened by an execution at a host of ours, followed by a sweep, also after a worker's death."""

from collections.abc import Iterator
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import func, select, text, update

from relay_core.domain.errors import Conflict
from relay_core.domain.forges import Forges
from relay_core.domain.vocabulary import MergeKind, RunReason
from relay_core.secret_box import SecretBox, SecretName
from relay_core.store.executions import retry
from relay_core.store.merges import pull_requests
from relay_core.store.merges.requests import MergeRequest, add_merge
from relay_core.store.merges.views import get
from relay_core.store.projects import secrets
from relay_core.store.schema.tables import Project, Task, Workspace
from relay_workers.execution.assembly import make_tokens
from relay_workers.maintenance.pull_requests import PullRequests
from relay_workers.testing.faults import Moment
from relay_workers.testing.scripted_step import ScriptedStep
from tests.support.fake_node import ME, FakeNode
from tests.support.forge_server import TOKEN, ForgeServer, forge_server
from tests.support.recorded_heads import record_head

pytest_plugins = ["tests.support.fake_node"]
COMMIT = "c" * 40
KEY = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="


@pytest.fixture(scope="module", params=["github", "gitlab"])
def server(request: pytest.FixtureRequest) -> Iterator[ForgeServer]:
    with forge_server(request.param) as made:
        yield made


@pytest.fixture(scope="module")
def node(module_database_url: str, tmp_path_factory: pytest.TempPathFactory, server: ForgeServer) -> Iterator[FakeNode]:
    root = tmp_path_factory.mktemp("node") / "team"
    root.mkdir()
    made = FakeNode.make(module_database_url, root)
    forges = (f"file={server.shape}:{server.url}",)
    made.settings = made.settings.model_copy(update={"forges": forges, "secret_keys": (KEY,)})
    made.add_worker("first")
    made.add_worker("second")
    yield made
    made.close()
    assert not made.broken


class Made:
    """A workspace with a commit, in a project with a token."""

    def __init__(self, node: FakeNode, server: ForgeServer) -> None:
        self.node, self.server = node, server
        server.refuse = server.refuse_post = None
        self.id = node.submit(ScriptedStep())
        node.workers[0].run(node.newest(self.id, RunReason.CODING_AGENT)["id"])
        self.secret = f"{server.shape.upper()}_TOKEN"
        self.store_token(TOKEN)
        statement = select(Workspace.branch, Task.project_id).join(Task, Task.id == Workspace.task_id)
        with node.database.connect() as connection:
            self.branch, self.project = connection.execute(statement.where(Workspace.id == self.id)).one()
        clone = node.settings.data_dir / "workspaces" / str(self.id) / "repos" / "remote"
        head = node.git.heads(clone.parent.parent, ["remote"])["remote"].commit or ""
        (clone / "mine").write_text("mine\n")
        names = [path.name for path in clone.iterdir() if path.is_file()]
        self.commit = node.git.add_commit({each: (clone / each).read_bytes() for each in names}, head)
        (clone / ".git/refs/heads" / self.branch).write_text(f"{self.commit}\n")
        record_head(node.database, self.id, self.commit)

    def store_token(self, value: str, name: str | None = None) -> None:
        name = name or self.secret
        statement = select(Task.project_id).join(Workspace, Workspace.task_id == Task.id)
        with self.node.database.begin() as connection:
            project = connection.scalar(statement.where(Workspace.id == self.id))
            assert project is not None
            sealed = SecretBox.of(self.node.settings).seal(SecretName(project, name), value)
            secrets.put(connection, project, name, sealed, "someone")

    def open(self, **wanted: Any) -> UUID:
        forges = Forges(self.node.settings.forges)
        request = MergeRequest(kind=MergeKind.PR, message="Mend it\n\nBecause.", **wanted)
        with self.node.database.begin() as connection:
            return add_merge(connection, self.id, request, ME, forges)

    def view(self, merge: UUID) -> dict[str, Any]:
        with self.node.database.connect() as connection:
            return get(connection, merge, ME)

    @property
    def task(self) -> str | None:
        statement = select(Task.status).join(Workspace, Workspace.task_id == Task.id).where(Workspace.id == self.id)
        with self.node.database.connect() as connection:
            return connection.scalar(statement)

    def opened(self) -> tuple[UUID, int]:
        merge = self.open()
        self.node.workers[0].run(self.view(merge)["execution_id"])
        found = self.view(merge)
        assert found["status"] == "open", found["error_reason"]
        return merge, found["pr_info"]["number"]


@pytest.fixture
def made(node: FakeNode, server: ForgeServer) -> Iterator[Made]:
    made = Made(node, server)
    yield made
    with node.database.begin() as connection:
        connection.execute(text("UPDATE merges SET pr_status = 'closed' WHERE pr_status = 'open'"))


def sweep(node: FakeNode, seconds: float = 0.0) -> int:
    context = node.workers[0].context
    return PullRequests(node.database, make_tokens(context), seconds).sweep()


def test_a_pull_request_is_opened_after_the_branch_is_pushed(node, made, server):
    merge, number = made.opened()
    found = made.view(merge)
    assert node.git.branches(node.url)[made.branch] == made.commit == found["source_commit"]
    assert (found["kind"], found["pr_info"]["status"], found["merge_commit"]) == ("pr", "open", None)
    assert server.pulls[number - 1]["title"] == "Mend it"
    assert server.pulls[number - 1]["text"] == "Because."
    assert made.task == "inreview"
    kinds = [kind for kind, _ in node.events(found["execution_id"])]
    assert kinds == ["execution.queued", "execution.started", "merge.opened", "execution.completed"]
    assert TOKEN.encode() not in node.log(found["execution_id"])


def test_once_it_is_merged_the_task_is_done(node, made, server):
    merge, number = made.opened()
    assert sweep(node) == 0
    server.merge(number, COMMIT)
    assert sweep(node, 3600) == 0, "it was asked about a moment ago"
    assert sweep(node) == 1
    found = made.view(merge)
    assert (found["status"], found["merge_commit"], made.task) == ("merged", COMMIT, "done")
    told = {"status": "merged", "merge_commit_sha": COMMIT}
    assert found["pr_info"] | told == found["pr_info"]
    assert found["pr_info"]["merged_at"].isoformat().startswith("2026-01-31T08:02:31")
    with node.database.connect() as connection:
        stored = "SELECT merge_commit FROM execution_process_repo_states WHERE execution_process_id = :id"
        assert connection.scalar(text(stored), {"id": found["execution_id"]}) == COMMIT
    assert node.kinds(made.id).count("merge.merged") == 1
    assert sweep(node) == 0


def test_one_that_is_closed_leaves_the_task_and_can_be_opened_again(node, made, server):
    merge, number = made.opened()
    server.close(number)
    assert sweep(node) == 1
    assert (made.view(merge)["status"], made.task) == ("closed", "inreview")
    server.reopen(number)
    assert sweep(node) == 0, "a closed one is asked about on request only"
    with node.database.begin() as connection:
        pull_requests.ask_soon(connection, merge, ME)
    assert sweep(node) == 1
    assert made.view(merge)["status"] == "open"


def test_while_one_is_open_no_other_merge_is_accepted(made):
    made.opened()
    with pytest.raises(Conflict) as caught:
        made.open()
    assert caught.value.code == "pull_request_open"


def dies(node: FakeNode, execution_id: UUID) -> None:
    node.workers[0].control(execution_id).let_go()
    node.expire(execution_id)
    raise SystemError("its worker is dead")


@pytest.mark.parametrize("moment", Moment)
def test_a_push_for_it_is_repeated_by_the_worker_that_takes_it_over(node, made, server, moment):
    merge = made.open()
    execution = made.view(merge)["execution_id"]
    before = len(server.pulls)
    node.git.faults.at("push", moment, partial(dies, node, execution))
    node.workers[0].run(execution)
    assert node.row(execution)["status"] == "running"
    node.workers[1].run(execution)
    assert made.view(merge)["status"] == "open"
    assert len(server.pulls) == before + 1


def test_one_that_was_opened_before_the_worker_died_is_found(node, made, server, monkeypatch):
    merge = made.open()
    execution = made.view(merge)["execution_id"]
    answer = server.answer

    def dies_after(method, path, query, body):
        found = answer(method, path, query, body)
        if method == "POST":
            node.workers[0].control(execution).let_go()
            node.expire(execution)
        return found

    monkeypatch.setattr(server, "answer", dies_after)
    before = len(server.pulls)
    node.workers[0].run(execution)
    monkeypatch.setattr(server, "answer", answer)
    if node.row(execution)["status"] == "running":
        node.workers[1].run(execution)
    assert made.view(merge)["status"] == "open"
    assert len(server.pulls) == before + 1


def test_a_refusal_ends_the_execution_with_the_hosts_words(node, made, server):
    server.refuse_post = (422, {"message": "Validation Failed", "errors": [{"message": f"no {TOKEN}"}]}, {})
    merge = made.open()
    execution = made.view(merge)["execution_id"]
    node.workers[0].run(execution)
    row = node.row(execution)
    assert (row["status"], row["reason"]) == ("failed", "merge_failed")
    assert "Validation Failed" in row["error_reason"]
    assert TOKEN not in row["error_reason"]
    assert TOKEN.encode() not in node.log(execution)
    server.refuse_post = None
    with node.database.begin() as connection:
        again = retry.retry_execution(connection, execution, ME.owner, run_agent_again=False)
    node.workers[0].run(again)
    assert made.view(merge)["status"] == "open"


def test_a_wrong_token_is_named_by_its_secret(node, made):
    made.store_token("another-token", "OTHER")
    merge = made.open(token_secret="OTHER")
    node.workers[0].run(made.view(merge)["execution_id"])
    text_ = made.view(merge)["error_reason"]
    assert "the token is wrong or expired" in text_
    assert "another-token" not in text_


@pytest.mark.parametrize("value", ["-----BEGIN KEY-----\nc2VjcmV0\n-----END KEY-----\n", "schl\u00fcssel", " "])
def test_a_secret_that_is_no_token_is_named_and_not_shown(node, made, server, value):
    made.store_token(value, "OTHER")
    asked = len(server.asked)
    merge = made.open(token_secret="OTHER")
    execution = made.view(merge)["execution_id"]
    node.workers[0].run(execution)
    row = node.row(execution)
    assert (row["status"], row["reason"]) == ("failed", "secret_missing")
    assert "the secret OTHER is no token" in row["error_reason"]
    assert not any(part in row["error_reason"] for part in ("c2VjcmV0", "schl"))
    assert len(server.asked) == asked


def test_without_a_token_nothing_is_asked(node, made, server):
    asked = len(server.asked)
    merge = made.open(token_secret="MISSING")
    execution = made.view(merge)["execution_id"]
    node.workers[0].run(execution)
    assert node.row(execution)["reason"] == "secret_missing"
    assert "relay secret set MISSING" in node.row(execution)["error_reason"]
    assert len(server.asked) == asked
    assert made.branch not in node.git.branches(node.url)


def test_a_host_whose_limit_is_used_up_is_left_alone(node, made, server):
    merge, _ = made.opened()
    server.refuse = (429, {"message": "slow down"}, {"Retry-After": "120"})
    now = [1000.0]
    follower = PullRequests(node.database, make_tokens(node.workers[0].context), 0.0, lambda: now[0])
    follower.sweep()
    assert "rate limit" in made.view(merge)["pr_info"]["problem"]
    asked = len(server.asked)
    follower.sweep()
    assert len(server.asked) == asked
    server.refuse = None
    now[0] += 121
    follower.sweep()
    assert made.view(merge)["pr_info"]["problem"] is None


def test_a_silent_token_does_not_keep_those_of_others_waiting(node, made, server, monkeypatch):
    monkeypatch.setattr(pull_requests, "MOST", 1)
    silent, _ = made.opened()
    other = Made(node, server)
    other.store_token(TOKEN, "OTHER")
    merge = other.open(token_secret="OTHER")
    node.workers[0].run(other.view(merge)["execution_id"])
    number = other.view(merge)["pr_info"]["number"]
    follower = PullRequests(node.database, make_tokens(node.workers[0].context), 0.0, lambda: 1000.0)
    server.refuse = (429, {"message": "slow down"}, {"Retry-After": "120"})
    follower.sweep()
    assert "rate limit" in made.view(silent)["pr_info"]["problem"]
    server.refuse = None
    server.merge(number, COMMIT)
    for _ in range(2):
        with node.database.begin() as connection:  # the silent one has waited for the longest time
            connection.execute(text("UPDATE merges SET pr_checked_at = NULL WHERE id = :id"), {"id": silent})
        follower.sweep()
    assert other.view(merge)["status"] == "merged"


def test_one_of_a_deleted_project_is_not_asked_about(node, made, server):
    made.opened()
    with node.database.begin() as connection:
        connection.execute(update(Project).where(Project.id == made.project).values(deleted_at=func.now()))
    asked = len(server.asked)
    sweep(node)
    assert len(server.asked) == asked
