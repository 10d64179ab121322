"""The revisions that the schema check knows are those of the tool that migrates."""

from alembic.config import Config
from alembic.script import ScriptDirectory

from relay_core.store.schema.revision import MIGRATIONS, head_revision, known_revisions


def test_the_numbers_of_the_files_are_the_revisions_in_their_order():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert known_revisions() == [script.revision for script in scripts.walk_revisions()][::-1]
    assert head_revision() == scripts.get_current_head()
