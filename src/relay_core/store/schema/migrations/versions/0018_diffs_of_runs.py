"""Diffs of runs: where the diff of a run is neither that of the workspace nor that of its last step, it is stored

Of runs that have ended, those whose only recorded state is that of their first step get the counts of this step. Of
the others that began after the base commit, the diff is that of the workspace: no git is here to make another one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("execution_process_repo_states", sa.Column("run_patch", sa.LargeBinary(), nullable=True))
    op.execute(
        """
        UPDATE execution_process_repo_states state
        SET stat = state.stat || jsonb_build_object(
          'run', state.stat -> 'step' || jsonb_build_object('base', state.before_head_commit)
        )
        FROM execution_processes e
        WHERE e.id = state.execution_process_id AND e.run_id IS NOT NULL
          AND state.step_patch IS NOT NULL AND jsonb_typeof(state.stat -> 'step') = 'object'
          AND state.before_head_commit = (
            SELECT other.before_head_commit FROM execution_process_repo_states other
            JOIN execution_processes first ON first.id = other.execution_process_id
            WHERE first.run_id = e.run_id AND other.repo_id = state.repo_id AND other.before_head_commit IS NOT NULL
            ORDER BY first.created_at, first.id LIMIT 1
          )
        """
    )


def downgrade() -> None:
    op.execute("UPDATE execution_process_repo_states SET stat = stat - 'run' WHERE stat ? 'run'")
    op.drop_column("execution_process_repo_states", "run_patch")
