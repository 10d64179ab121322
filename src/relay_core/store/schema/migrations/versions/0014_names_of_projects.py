"""Names of projects, unique for each owner; of several with one name, all but the oldest get the start of their id"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        UPDATE projects SET name = projects.name || '-' || left(projects.id::text, 8) FROM (
          SELECT id, row_number() OVER (PARTITION BY created_by, name ORDER BY created_at, id) AS place
          FROM projects WHERE deleted_at IS NULL
        ) named WHERE named.id = projects.id AND named.place > 1
        """
    )
    op.create_index(
        "projects_name", "projects", ["created_by", "name"], unique=True, postgresql_where=sa.text("deleted_at IS NULL")
    )


def downgrade() -> None:
    op.drop_index("projects_name", "projects")
