"""A worker and an API start without what only migrations and a terminal need."""

import subprocess
import sys

import pytest

CALL = """
import gc, sys
from relay_core.quick_start import load_program
load_program(sys.argv[1])
assert gc.isenabled() and gc.get_freeze_count() > 100_000
print(*sys.modules)
"""


@pytest.mark.parametrize("program", ["relay_api.service:main", "relay_workers.service:main"])
def test_a_program_loads_no_tool_of_migrations_and_no_terminal(program):
    done = subprocess.run([sys.executable, "-c", CALL, program], capture_output=True, text=True, check=True)
    assert not {"alembic", "mako", "rich.console", "pygments"} & set(done.stdout.split())
