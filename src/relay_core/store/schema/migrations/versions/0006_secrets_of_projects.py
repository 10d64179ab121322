"""Secrets of projects, which workspaces use them, and what they were given"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "project_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project_id", "name", name="project_secrets_name"),
    )
    op.create_table(
        "workspace_secrets",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("env_name", sa.Text(), nullable=False),
        sa.Column("secret_name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.PrimaryKeyConstraint("workspace_id", "env_name"),
    )
    op.create_table(
        "given_secrets",
        sa.Column("workspace_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("secret_name", sa.Text(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["workspace_id"], ["workspaces.id"]),
        sa.PrimaryKeyConstraint("workspace_id", "digest"),
    )
    op.add_column(
        "workspaces",
        sa.Column(
            "secrets_in", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{coding_agent}'"), nullable=False
        ),
    )


def downgrade() -> None:
    op.drop_column("workspaces", "secrets_in")
    op.drop_table("given_secrets")
    op.drop_table("workspace_secrets")
    op.drop_table("project_secrets")
