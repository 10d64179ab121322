"""Attachments of nodes to pools: which nodes take part, with which protocol version, above which floor"""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0052"
down_revision = "0051"
branch_labels = None
depends_on = None

ACTIVE = "('registering', 'online', 'degraded')"
NEW_KINDS = ("node.detach", "node.capabilities", "pool.floor")
HEALTH = "'ok', 'draining', 'disk_pressure', 'disk_unavailable', 'engine_unavailable'"
CLOSED = "('disk_pressure', 'disk_unavailable', 'engine_unavailable')"
CLOSED_TOO = "('disk_pressure', 'disk_unavailable', 'engine_unavailable', 'impaired')"

# Two versions compare as arrays of numbers, so 1.10 is more than 1.9. What is no version is an error: it admits nothing.
VERSION = r"""
CREATE FUNCTION protocol_version(value text) RETURNS int[] LANGUAGE plpgsql IMMUTABLE STRICT AS $$
BEGIN
  IF value !~ '^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$' THEN
    RAISE EXCEPTION '"%" is not a protocol version MAJOR.MINOR; correct it with "relay nodes floor"', value;
  END IF;
  RETURN string_to_array(value, '.')::int[];
END
$$
"""

# The active attachment of each node, and what the node may start because of it.
SLOTS = f"""
CREATE VIEW node_slots AS
SELECT s.node_id, s.pool, s.state, s.read_only,
  s.state <> 'registering' AND NOT s.read_only AS starts,
  s.state = 'online' AND NOT s.read_only AS takes_new
FROM (
  SELECT a.node_id, a.pool, a.state,
    coalesce(protocol_version(a.protocol_version) < protocol_version(p.min_protocol_version), false) AS read_only
  FROM runtime_node_attachments a LEFT JOIN node_pools p ON p.pool = a.pool
  WHERE a.state IN {ACTIVE}) AS s
"""  # noqa: S608 - nothing of a client's

# Each node has an attachment from its first row on, so that there is no node of which nothing is known.
ATTACH = """
CREATE FUNCTION attach_new_node() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO runtime_node_attachments (node_id, pool, state)
  VALUES (NEW.node_id, NEW.pool, CASE WHEN NEW.registering THEN 'registering' ELSE 'online' END)
  ON CONFLICT DO NOTHING;
  RETURN NULL;
END
$$
"""
ATTACHES = """
CREATE TRIGGER runtime_nodes_attach AFTER INSERT ON runtime_nodes FOR EACH ROW EXECUTE FUNCTION attach_new_node()
"""

# A heartbeat of a registering node that says that all is well ends the registering. The condition looks only at the
# row, so all other heartbeats cost nothing more.
OPEN = """
CREATE FUNCTION open_slot() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  UPDATE runtime_node_attachments a SET state = 'online', state_reason = NULL, updated_at = now()
  WHERE a.node_id = NEW.node_id AND a.state = 'registering';
  NEW.registering := false;
  RETURN NEW;
END
$$
"""
OPENS = """
CREATE TRIGGER runtime_nodes_open_slot BEFORE UPDATE ON runtime_nodes FOR EACH ROW
WHEN (OLD.registering AND NEW.registering AND NEW.reported_health IN ('ok', 'draining')
  AND NEW.last_heartbeat_at IS DISTINCT FROM OLD.last_heartbeat_at)
EXECUTE FUNCTION open_slot()
"""

MINE = "SELECT e.workspace_id, e.group_id, e.run_id, w.node_id INTO mine"
MINE_TOO = "SELECT e.workspace_id, e.group_id, e.run_id, w.node_id, w.pool INTO mine"
PROMISED = """    FROM runtime_nodes n WHERE n.node_id = by_node FOR KEY SHARE;
    IF draining THEN"""
PROMISED_TOO = """    FROM runtime_nodes n WHERE n.node_id = by_node FOR KEY SHARE;
    draining := draining OR NOT EXISTS (SELECT 1 FROM node_slots s WHERE s.node_id = by_node AND s.starts);
    IF draining THEN"""
LOCKED = """    FROM runtime_nodes n WHERE n.node_id = by_node FOR NO KEY UPDATE;
"""
LOCKED_TOO = """    FROM runtime_nodes n WHERE n.node_id = by_node FOR NO KEY UPDATE;
    draining := draining OR NOT EXISTS (
      SELECT 1 FROM node_slots s WHERE s.node_id = by_node
        AND CASE WHEN mine.node_id IS NULL THEN s.takes_new AND s.pool = mine.pool ELSE s.starts END);
"""
OF_NODE = "WHERE n.node_id = of_node AND n.revoked_at IS NULL AND n.liveness <> 'offline'"
STARTS = "AND EXISTS (SELECT 1 FROM node_slots s WHERE s.node_id = n.node_id AND s.starts)"
OF_POOL = "WHERE n.pool = of_pool AND n.liveness <> 'offline' AND NOT n.draining"
TAKES = (
    "AND EXISTS (\n        SELECT 1 FROM node_slots s WHERE s.node_id = n.node_id AND s.pool = n.pool AND s.takes_new)"
)
OF_MINE = "WHERE n.node_id = mine.node_id AND n.revoked_at IS NULL AND n.liveness <> 'offline'"
EDITS = (
    ("take_claim", MINE, MINE_TOO),
    ("take_claim", PROMISED, PROMISED_TOO),
    ("take_claim", LOCKED, LOCKED_TOO),
    ("has_place", OF_NODE, f"{OF_NODE} {STARTS}"),
    ("has_place", OF_POOL, f"{OF_POOL} {TAKES}"),
    ("has_place", CLOSED, CLOSED_TOO),
    ("starts_at_once", OF_MINE, f"{OF_MINE} {STARTS}"),
)


def upgrade() -> None:
    op.add_column(
        "runtime_nodes", sa.Column("registering", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_table(
        "runtime_node_attachments",
        sa.Column("id", sa.Uuid(), server_default=sa.func.gen_random_uuid(), primary_key=True),
        sa.Column("node_id", sa.Text(), sa.ForeignKey("runtime_nodes.node_id", ondelete="CASCADE"), nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="registering", nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("protocol_version", sa.Text(), server_default="1.0", nullable=False),
        sa.Column("capabilities", JSONB(), server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("attached_by", sa.Text(), nullable=True),
        sa.Column("attached_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint(
            "state IN ('registering', 'online', 'degraded', 'offline', 'revoked')",
            name="runtime_node_attachments_state",
        ),
        sa.UniqueConstraint("node_id", "pool", name="runtime_node_attachments_pool"),
    )
    op.create_index(
        "runtime_node_attachments_active",
        "runtime_node_attachments",
        ["node_id"],
        unique=True,
        postgresql_where=sa.text(f"state IN {ACTIVE}"),
    )
    op.create_table(
        "node_pools",
        sa.Column("pool", sa.Text(), primary_key=True),
        sa.Column("min_protocol_version", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
    op.execute(
        "INSERT INTO runtime_node_attachments (node_id, pool, state, capabilities, attached_at) "
        "SELECT node_id, pool, CASE WHEN revoked_at IS NULL THEN 'online' ELSE 'revoked' END, "
        "jsonb_build_object('declares', to_jsonb(declares)), created_at FROM runtime_nodes"
    )
    for statement in (VERSION, SLOTS, ATTACH, ATTACHES, OPEN, OPENS):
        op.execute(sa.text(statement.replace(":", "\\:")))
    for name, before, after in EDITS:
        _edit(name, before, after)
    _allow_health(f"{HEALTH}, 'impaired'")
    _allow("kind", more=NEW_KINDS)
    _allow("subject_kind", more=("pool",))


def downgrade() -> None:
    op.execute("UPDATE runtime_nodes SET reported_health = 'engine_unavailable' WHERE reported_health = 'impaired'")
    _allow_health(HEALTH)
    op.execute("DELETE FROM operations WHERE kind IN ('node.detach', 'node.capabilities', 'pool.floor')")
    op.execute("DELETE FROM operations WHERE subject_kind = 'pool'")
    _allow("kind", less=NEW_KINDS)
    _allow("subject_kind", less=("pool",))
    for name, before, after in reversed(EDITS):
        _edit(name, after, before)
    op.execute("DROP TRIGGER runtime_nodes_open_slot ON runtime_nodes")
    op.execute("DROP TRIGGER runtime_nodes_attach ON runtime_nodes")
    op.execute("DROP FUNCTION open_slot")
    op.execute("DROP FUNCTION attach_new_node")
    op.execute("DROP VIEW node_slots")
    op.execute("DROP FUNCTION protocol_version")
    op.drop_table("node_pools")
    op.drop_table("runtime_node_attachments")
    op.drop_column("runtime_nodes", "registering")


def _allow_health(values: str) -> None:
    op.drop_constraint("runtime_nodes_reported_health", "runtime_nodes", type_="check")
    op.create_check_constraint("runtime_nodes_reported_health", "runtime_nodes", f"reported_health IN ({values})")


def _allow(column: str, *, more: Sequence[str] = (), less: Sequence[str] = ()) -> None:
    """Change the words that a column of `operations` may have, whatever they are at present."""
    name = f"operations_{column}"
    found = sa.text("SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = :name")
    present = re.findall(r"'([a-z_.]+)'", str(op.get_bind().scalar(found, {"name": name})))
    words = [word for word in dict.fromkeys((*present, *more)) if word not in less]
    op.drop_constraint(name, "operations", type_="check")
    allowed = ", ".join(f"'{word}'" for word in words)
    op.create_check_constraint(name, "operations", f"{column} IN ({allowed})")


def _edit(function: str, before: str, after: str) -> None:
    """Replace a part of the function as it is in the database; the rest of it stays as it is."""
    connection = op.get_bind()
    named = {"name": function}
    found = sa.text("SELECT pg_get_functiondef(CAST(CAST(:name AS text) AS regproc))")
    source = str(connection.scalar(found, named))
    if source.count(before) != 1:
        raise RuntimeError(f"the function {function} is not the one that this migration changes")
    connection.exec_driver_sql(source.replace(before, after))
