"""Celery's id of an attempt, so that a revoke finds its execution"""

from uuid import UUID, uuid5

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

NAMESPACE = UUID("6f6b5f0e-3c53-4b9a-9a55-6f8e2a3d7c10")
ROWS = sa.table("execution_processes", sa.column("id"), sa.column("attempt"), sa.column("task_id"))


def upgrade() -> None:
    op.add_column("execution_processes", sa.Column("task_id", sa.Uuid(), nullable=True))
    _fill()
    op.alter_column("execution_processes", "task_id", nullable=False)
    op.create_index("execution_task", "execution_processes", ["task_id"], unique=True)


def _fill() -> None:
    connection = op.get_bind()
    ids = [
        {"row": row.id, "celery": uuid5(NAMESPACE, f"{row.id}:{row.attempt}")}
        for row in connection.execute(sa.select(ROWS.c.id, ROWS.c.attempt))
    ]
    if ids:
        one = sa.update(ROWS).where(ROWS.c.id == sa.bindparam("row", type_=sa.Uuid()))
        connection.execute(one.values(task_id=sa.bindparam("celery", type_=sa.Uuid())), ids)


def downgrade() -> None:
    op.drop_column("execution_processes", "task_id")
