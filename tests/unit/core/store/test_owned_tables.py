"""Tables whose rows belong to an owner."""

from relay_core.store.schema.tables import Base


def test_every_table_with_an_owner_is_filtered_by_it():
    """A reminder: a new table with `created_by` needs a thought about who may see it."""
    owned = {table.name for table in Base.metadata.sorted_tables if "created_by" in table.columns}
    assert owned == {
        *("projects", "project_secrets", "project_files", "repos", "tags", "scratch", "tasks", "workspaces", "images"),
        *("scope_delegations", "runs", "execution_processes", "merges"),
        *("migration_states", "transfer_parts", "imported_entities"),
    }
