"""How pytest-xdist gives tests to its processes: the groups of `tests/support/grouping.py`, in their order.

`--dist loadgroup` of pytest-xdist 3.8 has no effect with pytest 9.2, whose test ids can no longer be changed.
"""

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling

from tests.support.grouping import group_of


class GroupScheduling(LoadScopeScheduling):
    """One process runs all tests of a group, one after another."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0])
        return group_of(Path(*module.parts[1:]))
