"""T002-06: progress of clones is evented at most once a second, and never costs a start or terminal event."""

import random
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select, text

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.git.fetch_progress import FetchPhase, FetchProgress
from relay_core.domain.limits import Limits
from relay_core.store.executions.progress import append_progress
from relay_core.store.projects import clones, projects
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from relay_core.store.schema.tables import Event, ExecutionProcess, Workspace
from relay_core.store.workspaces.submit import RepoInput, RunInput, submit_run
from relay_workers.execution.assembly import make_runner
from relay_workers.git.port import FetchRequest
from relay_workers.git.service import GitService
from tests.support.fake_node import ME, FakeNode, NoTool
from tests.support.machine import free_port
from tests.support.waiting import eventually

pytest_plugins = ["tests.support.fake_node"]

STATE = {"remote": "file:///r", "phase": "receiving", "objects": 1, "total": 2, "bytes": None}
OBJECTS, OBJECT_BYTES = 2_000, 1_024


@pytest.fixture(scope="module")
def node(fake_node: FakeNode) -> FakeNode:
    return fake_node


def project_clone(node: FakeNode, url: str | None = None) -> UUID:
    if url is None:
        url = f"{node.url}-{uuid4().hex[:8]}"
        node.git.add_remote(url, "main", {"README": b"hello\n"})
    wanted = ProjectInput(f"p-{uuid4().hex[:8]}", repos=[ProjectRepoInput(url)])
    with node.database.begin() as connection:
        return clones.start_clone(connection, projects.create(connection, wanted, ME), "default", ME.owner)


def workspace_clone(node: FakeNode) -> UUID:
    run = RunInput((RepoInput(node.url),), "go", ExecutorChoice("shell", "true"), Limits())
    with node.database.begin() as connection:
        return submit_run(connection, run, ME, node.settings).execution_id


def told(node: FakeNode, execution_id: UUID) -> list[Any]:
    columns = (Event.kind, Event.sequence, Event.terminal, Event.payload, Event.created_at)
    with node.database.connect() as connection:
        return list(
            connection.execute(select(*columns).where(Event.operation_id == execution_id).order_by(Event.sequence))
        )


def progress_of(node: FakeNode, execution_id: UUID) -> list[Any]:
    return [event for event in told(node, execution_id) if event.kind == "execution.progress"]


@contextmanager
def fetching(node: FakeNode, during: Callable[[FetchRequest], None]) -> Iterator[None]:
    """Within the block, something happens during each fetch of the node."""
    real = node.git.fetch

    def fetch(request: FetchRequest) -> Any:
        during(request)
        return real(request)

    node.git.fetch = fetch  # type: ignore[method-assign]
    try:
        yield
    finally:
        node.git.fetch = real  # type: ignore[method-assign]


def tell(request: FetchRequest, objects: int) -> None:
    assert request.on_progress is not None
    request.on_progress(FetchProgress(FetchPhase.RECEIVING, objects, 10_000, objects * 100))


@contextmanager
def when_progress_is_stored(node: FakeNode, statement: str) -> Iterator[Callable[[], int]]:
    """Within the block, Postgres runs a statement before it stores progress; yields how often it was about to."""
    name = f"tried_{uuid4().hex}"
    with node.database.begin() as connection:
        connection.execute(text(f"CREATE SEQUENCE {name}"))
        connection.execute(
            text(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"PERFORM nextval('{name}'); {statement}; RETURN NEW; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER {name} BEFORE INSERT ON events FOR EACH ROW "
                f"WHEN (NEW.kind = 'execution.progress') EXECUTE FUNCTION {name}()"
            )
        )

    def tried() -> int:
        with node.database.connect() as connection:
            return int(connection.scalar(text(f"SELECT last_value * is_called::int FROM {name}")) or 0)

    try:
        yield tried
    finally:
        with node.database.begin() as connection:
            connection.execute(text(f"DROP FUNCTION {name} CASCADE"))
            connection.execute(text(f"DROP SEQUENCE {name}"))


@pytest.mark.proves("T002-06")
@pytest.mark.parametrize("make", [project_clone, workspace_clone])
def test_ten_thousand_states_are_at_most_one_event_a_second(node: FakeNode, make: Callable[[FakeNode], UUID]) -> None:
    clone = make(node)

    def burst(request: FetchRequest) -> None:
        for number in range(1, 10_001):
            tell(request, number)
        eventually(lambda: progress_of(node, clone), "the first progress")
        for number in range(1, 10_001):
            tell(request, number)
        eventually(lambda: len(progress_of(node, clone)) > 1, "the second progress")

    with fetching(node, burst):
        node.workers[0].run(clone)

    events = told(node, clone)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    kinds = [event.kind for event in events]
    assert kinds == ["execution.queued", "execution.started", *["execution.progress"] * 2, "execution.completed"]
    assert [event.terminal for event in events] == [False] * 4 + [True]
    started, first, second = events[1:4]
    assert (first.created_at - started.created_at).total_seconds() >= 1
    assert (second.created_at - first.created_at).total_seconds() >= 1
    assert first.payload == {
        "remote": first.payload["remote"],
        "phase": "receiving",
        "objects": 10_000,
        "total": 10_000,
        "bytes": 1_000_000,
    }
    assert first.payload["remote"].startswith("file://")


def test_a_short_fetch_has_no_progress(node: FakeNode) -> None:
    clone = project_clone(node)
    with fetching(node, partial(tell, objects=1)):
        node.workers[0].run(clone)
    assert [event.kind for event in told(node, clone)][1:] == ["execution.started", "execution.completed"]


@pytest.mark.parametrize("statement", ["RAISE EXCEPTION 'the store refuses it'", "PERFORM pg_sleep(30)"])
def test_a_store_that_refuses_progress_or_hangs_changes_nothing_of_the_end(node: FakeNode, statement: str) -> None:
    clone = project_clone(node)
    with when_progress_is_stored(node, statement) as tried:

        def during(request: FetchRequest) -> None:
            tell(request, 1)
            eventually(tried, "a write of progress")

        with fetching(node, during):
            node.workers[0].run(clone)
    assert [(event.kind, event.sequence, event.terminal) for event in told(node, clone)] == [
        ("execution.queued", 1, False),
        ("execution.started", 2, False),
        ("execution.completed", 3, True),
    ]


def test_progress_waits_for_no_lock_and_for_no_other_owner(node: FakeNode) -> None:
    clone = workspace_clone(node)

    def during(_request: FetchRequest) -> None:
        row = node.row(clone)
        for table, key in ((ExecutionProcess, clone), (Workspace, row["workspace_id"])):
            with node.database.begin() as other:
                other.execute(select(table.id).where(table.id == key).with_for_update())
                with node.database.begin() as connection:
                    assert not append_progress(connection, clone, row["fence"], STATE)
        with node.database.begin() as connection:
            assert not append_progress(connection, clone, row["fence"] - 1, STATE)
        with node.database.begin() as connection:
            assert append_progress(connection, clone, row["fence"], STATE)

    with fetching(node, during):
        node.workers[0].run(clone)
    assert node.row(clone)["status"] == "completed", node.row(clone)["error_reason"]
    with node.database.begin() as connection:
        assert not append_progress(connection, clone, node.row(clone)["fence"], STATE)
    assert [event.payload for event in progress_of(node, clone)] == [STATE]
    events = told(node, clone)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))


# a real clone


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """The port of a real git server, and the path of a repository there with many objects."""
    bare = tmp_path / "many.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(bare)], check=True)
    some = random.Random(1)
    blobs = b"".join(
        b"blob\nmark :%d\ndata %d\n%s\n" % (number, OBJECT_BYTES, some.randbytes(OBJECT_BYTES))
        for number in range(1, OBJECTS + 1)
    )
    names = b"".join(b"M 644 :%d f/%d\n" % (number, number) for number in range(1, OBJECTS + 1))
    commit = b"commit refs/heads/main\ncommitter T <t@example.org> 0 +0000\ndata 5\nfirst\n" + names
    subprocess.run(["git", "fast-import", "--quiet"], cwd=bare, input=blobs + commit, check=True)
    port = free_port()
    argv = ["git", "daemon", "--reuseaddr", "--export-all", "--listen=127.0.0.1", f"--port={port}"]
    with subprocess.Popen([*argv, f"--base-path={tmp_path}", str(tmp_path)], stderr=subprocess.DEVNULL) as server:
        url = f"git://127.0.0.1:{port}/many.git"
        ask = ["git", "ls-remote", url]
        eventually(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "the server")
        yield port, "many.git"
        server.terminate()


def _received(source: socket.socket) -> bytes:
    try:
        return source.recv(16_384)
    except OSError:  # closed by the other direction
        return b""


@contextmanager
def halfway(port: int, go_on: Callable[[], object]) -> Iterator[int]:
    """A port that passes connections on to a server, and stops after half of the objects until ``go_on`` returns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def copy(source: socket.socket, target: socket.socket, stop_at: int | None) -> None:
            passed = 0
            while piece := _received(source):
                target.sendall(piece)
                passed += len(piece)
                if stop_at is not None and passed > stop_at:
                    stop_at = go_on() and None
            with suppress(OSError):  # the other direction has ended the connection
                target.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with listener.accept()[0] as client, socket.create_connection(("127.0.0.1", port)) as server:
                threading.Thread(target=copy, args=(client, server, None), daemon=True).start()
                copy(server, client, OBJECTS * OBJECT_BYTES // 2)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(30)
        assert not thread.is_alive()


def test_a_real_clone_tells_the_objects_that_it_has_received(node: FakeNode, served: tuple[int, str]) -> None:
    port, path = served
    settings = node.settings.model_copy(update={"git_allow_git_protocol": True, "git_allow_private_hosts": True})
    context = node.workers[0].context
    runner = make_runner(replace(context, settings=settings, git=GitService(settings, NoTool())))
    made: list[UUID] = []
    with halfway(port, lambda: eventually(lambda: progress_of(node, made[0]), "progress")) as proxy:
        made.append(project_clone(node, f"git://127.0.0.1:{proxy}/{path}"))
        runner.run(made[0], 1)
    row = node.row(made[0])
    assert row["status"] == "completed", row["error_reason"]
    events = told(node, made[0])
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    first, *_ = progress_of(node, made[0])
    assert (first.payload["phase"], first.payload["total"]) == ("receiving", OBJECTS + 2 + 1)
    assert 0 < first.payload["objects"] < first.payload["total"]
    assert first.payload["bytes"] is None or 0 < first.payload["bytes"] < 2 * OBJECTS * OBJECT_BYTES
    assert [event.terminal for event in events] == [False] * (len(events) - 1) + [True]
