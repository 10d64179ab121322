"""Fixtures of this folder alone: a name that a plugin of `tests/support` has for something else."""

import pytest

from tests.support.git_bench import Bench, Remote, Workspace


@pytest.fixture
def workspace(bench: Bench, remote: Remote) -> Workspace:
    """A clone of the remote."""
    return bench.clone(remote.url)
