"""A database as after months of work: copies of a few runs that were submitted and ended through the store.

Copies differ in their ids, times, titles and labels. Every column is copied, so a new one needs no change here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text

from relay_core.domain import execution as machine
from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.execution import Transition
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import Reason, RunReason, Scope
from relay_core.settings import Settings
from relay_core.store.executions.claim import Claimant, Claimed, claim
from relay_core.store.executions.finish import Evidence, finish
from relay_core.store.nodes import runtime_nodes
from relay_core.store.tokens import Principal
from relay_core.store.transaction import Database
from relay_core.store.workspaces.submit import RepoInput, RunInput, SubmittedRun, submit_run

NEWEST = 240
"""The newest runs; half of them are not completed."""
LINE_BYTES = 64
WORKER = Claimant("w1@node-1", "node-1", "default", 30)


@dataclass(frozen=True)
class Seed:
    """A run that is copied.

    Attributes:
        owner: owner of the run.
        repo: name of its repository, and so of its project.
        ends: how its steps end, in their order; None: the step runs. What follows them stays as it is.
        share: copies among a hundred; None: a few, only among the newest runs; 0: no copy.
    """

    owner: str
    repo: str
    ends: Sequence[Transition | None]
    share: int | None


DONE = machine.completed()
FAILED = machine.failed(Reason.EXIT_CODE, "the step exited with 1", 1)
LOST = machine.failed(Reason.NODE_LOST, "the node is gone")
CANCELLED = machine.killed("killed on request", 137)
SEEDS = (
    Seed("ann", "app", [DONE, DONE, DONE, DONE], 45),
    Seed("ann", "app", [DONE, DONE, FAILED], 8),
    Seed("ann", "api", [DONE, DONE, CANCELLED], 7),
    Seed("bob", "web", [DONE, DONE, DONE, DONE], 30),
    Seed("bob", "web", [DONE, FAILED], 7),
    Seed("cat", "tool", [DONE, DONE, LOST], 3),
    Seed("ann", "app", [], None),
    Seed("ann", "app", [DONE, DONE, None], None),
    Seed("bob", "web", [DONE, DONE, None], None),
    Seed("dan", "rare", [DONE, DONE, FAILED], 0),
)
COPIED = (
    "tasks",
    "workspaces",
    "workspace_repos",
    "lanes",
    "sessions",
    "runs",
    "execution_processes",
    "execution_process_repo_states",
    "coding_agent_turns",
    "log_streams",
    "events",
)
_SHARED = {"project_id", "repo_id"}
_TITLE = (
    "(ARRAY['Fix','Add','Remove','Explain','Test','Speed up','Document'])[1 + n.g % 7] || ' the ' || "
    "(ARRAY['login','search','export','cache','menu','parser','queue','index','upload','mail','map'])[1 + n.g % 11] "
    "|| ' of ' || (ARRAY['the shop','the API','module','the page','the report'])[1 + n.g % 5] || ' ' || n.g"
)
_LABELS = (
    "jsonb_build_object('team', (ARRAY['web','core','data'])[1 + n.g % 3], 'ticket', n.g::text) "
    "|| CASE WHEN n.g % 10 = 0 THEN '{\"nightly\": \"yes\"}'::jsonb ELSE '{}'::jsonb END"
)
_SPECIAL = {
    ("tasks", "title"): _TITLE,
    ("workspaces", "name"): _TITLE,
    ("runs", "title"): _TITLE,
    ("runs", "labels"): f"CASE WHEN n.g % 2 = 0 THEN {_LABELS} ELSE '{{}}'::jsonb END",
    ("events", "id"): "nextval('events_id_seq')",
    ("events", "position"): "currval('events_id_seq')",
}


def fill(database: Database, runs: int, chunks: int = 0) -> None:
    """Insert about ``runs`` runs of several owners, with a bit more than three executions each, and analyze the tables.

    Nearly half of the runs are of the last month, and the oldest is a year old. `NEWEST` / 2 runs are not completed.

    Args:
        database: gets the rows.
        runs: number of runs.
        chunks: number of chunks of stdout of each execution, `LINE_BYTES` bytes each.
    """
    ids = [_seed(database, seed) for seed in SEEDS]
    with database.engine.connect() as connection:
        connection.execute(text("SET statement_timeout = 0"))
        connection.execute(text("SET session_replication_role = replica"))  # foreign keys hold, as the seeds' do
        _number(connection, ids, runs)
        size = text("UPDATE log_streams SET bytes = :bytes WHERE stream IN ('stdout', 'all')")
        connection.execute(size, {"bytes": chunks * LINE_BYTES})
        indexes = _drop_indexes(connection)
        for table in COPIED:
            _copy(connection, table)
        _write_logs(connection, chunks)
        for index in indexes:
            connection.execute(text(index))
        connection.execute(text("DROP TABLE copies"))
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text(f"VACUUM ANALYZE projects, repos, project_repos, log_chunks, {', '.join(COPIED)}"))
        connection.invalidate()  # with its settings


def _seed(database: Database, seed: Seed) -> tuple[str, int | None]:
    """Submit a run and end its first steps; id and share of the run."""
    with database.begin() as connection:
        runtime_nodes.heartbeat(connection, WORKER.node_id, pool="default", client_version="1", capabilities={})
        repo = RepoInput(f"https://git.example.org/team/{seed.repo}.git", setup_script="make", cleanup_script="clean")
        wanted = RunInput((repo,), "Do the work", ExecutorChoice("shell", "true"), Limits())
        run = submit_run(connection, wanted, Principal(seed.owner, frozenset({Scope.WRITE})), Settings())
    for end in seed.ends:
        with database.begin() as connection:
            queued = text("SELECT id FROM execution_processes WHERE run_id = :run AND status = 'queued'")
            taken = claim(connection, connection.execute(queued, {"run": run.run_id}).scalar_one(), 1, WORKER)
            assert isinstance(taken, Claimed)
            if taken.run_reason is RunReason.CLONE:
                ready = text("UPDATE workspaces SET state = 'running' WHERE id = :id")
                connection.execute(ready, {"id": run.workspace_id})
            if end is not None:
                finish(connection, taken.execution_id, taken.fence, end, Evidence(repo_states=_states(connection, run)))
    return str(run.run_id), seed.share


def _states(connection: Connection, run: SubmittedRun) -> dict[UUID, dict[str, Any]]:
    """The git states that a step leaves."""
    repos = text("SELECT repo_id FROM workspace_repos WHERE workspace_id = :id")
    stat = {"files": 2, "insertions": 30, "deletions": 4, "step": {"files": 1, "insertions": 3, "deletions": 0}}
    state = {"after_head_commit": "a" * 40, "branch": "vk-1-do", "dirty": False, "stat": stat}
    return dict.fromkeys(connection.scalars(repos, {"id": run.workspace_id}), state)


def _number(connection: Connection, seeds: Sequence[tuple[str, int | None]], runs: int) -> None:
    """Make the table of the copies: number (1 is the newest), run and workspace that is copied, and age."""
    connection.execute(text("CREATE TEMPORARY TABLE shares (run_id uuid, first int, last int)"))
    first = active = 0
    for run_id, share in seeds:
        if share is None:
            active += 1
            given = {"run": run_id, "first": -active, "last": 1 - active}
        else:
            given = {"run": run_id, "first": first, "last": first + share}
            first += share
        connection.execute(text("INSERT INTO shares VALUES (:run, :first, :last)"), given)
    connection.execute(
        text(
            """
            CREATE TEMPORARY TABLE copies AS
            SELECT g, r.id AS run_id, r.workspace_id, w.task_id,
              interval '1 year' * power(g::float8 / :runs, 3) + g * interval '1 ms' AS age
            FROM generate_series(1, :runs) g
            JOIN shares s ON CASE WHEN g <= :newest AND g % 2 = 0 THEN - 1 - g / 2 % :active
              ELSE g * 37 % 100 END BETWEEN s.first AND s.last - 1
            JOIN runs r ON r.id = s.run_id JOIN workspaces w ON w.id = r.workspace_id ORDER BY g DESC
            """
        ),
        {"runs": runs, "active": active, "newest": NEWEST},
    )
    connection.execute(text("DROP TABLE shares"))


def _drop_indexes(connection: Connection) -> list[str]:
    """Drop the indexes that are not unique, and return the statements that make them again, at once for all rows."""
    found = connection.execute(
        text(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename = ANY(:tables) "
            "AND indexdef NOT LIKE 'CREATE UNIQUE %'"
        ),
        {"tables": list(COPIED)},
    ).all()
    for name, _ in found:
        connection.execute(text(f"DROP INDEX {name}"))
    return [definition.replace(":", "\\:") for _, definition in found]


def _copy(connection: Connection, table: str) -> None:
    """Insert the rows of all copies into a table. New ids are hashes of the old ones, so references fit."""
    listed = text(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_schema = 'public' AND table_name = :table AND is_generated = 'NEVER' "
        "ORDER BY ordinal_position"
    )
    values = {}
    for name, kind in connection.execute(listed, {"table": table}):
        values[name] = f'o."{name}"'
        if kind == "uuid" and name not in _SHARED:
            values[name] = f"md5({values[name]}::text || n.g)::uuid"
        elif kind == "timestamp with time zone":
            values[name] += " - n.age"
        values[name] = _SPECIAL.get((table, name), values[name])
    names = ", ".join(f'"{name}"' for name in values)
    found = _join(table, set(values))
    connection.execute(text(f"INSERT INTO {table} ({names}) SELECT {', '.join(values.values())} FROM copies n {found}"))


def _write_logs(connection: Connection, chunks: int) -> None:
    """Insert the chunks that the sizes of the streams promise."""
    stored = text(
        """
        INSERT INTO log_chunks (execution_id, stream, start_offset, all_offset, byte_length, codec, data, week)
        SELECT s.execution_id, 'stdout', n * :size, n * :size, :size, 0, convert_to(repeat('-', :size - 1) || E'\\n', 'UTF8'), s.week
        FROM log_streams s, generate_series(0, :chunks - 1) n WHERE s.stream = 'stdout' ORDER BY s.execution_id, n
        """
    )
    connection.execute(stored, {"size": LINE_BYTES, "chunks": chunks})


def _join(table: str, columns: set[str]) -> str:
    if table in {"tasks", "workspaces", "runs"}:
        return f"JOIN {table} o ON o.id = n.{table.removesuffix('s')}_id"
    for name in ("execution_process_id", "execution_id"):
        if name in columns:
            return f"JOIN execution_processes e ON e.run_id = n.run_id JOIN {table} o ON o.{name} = e.id"
    return f"JOIN {table} o ON o.workspace_id = n.workspace_id"
