"""How pytest-xdist gives tests to its processes: the groups of `tests/support/grouping.py`, in their order.

Groups that start whole Relays wait more than they work, but their clocks are short: at most RELAY_TEST_STACKS (3)
processes run them. The other processes run the small tests in the time that those leave (conftest.py lowers their
priority). A process of the first kind that finds no such group any more helps with the small tests.

`--dist loadgroup` of pytest-xdist 3.8 has no effect with pytest 9.2, whose test ids can no longer be changed.
"""

from pathlib import Path

from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

from tests.support.grouping import group_of, processes_for_stacks, starts_relay


class GroupScheduling(LoadScopeScheduling):
    """One process runs all tests of a group, one after another."""

    def _split_scope(self, nodeid: str) -> str:
        module = Path(nodeid.partition("::")[0])
        return group_of(Path(*module.parts[1:]))

    def _assign_work_unit(self, node: WorkerController) -> None:
        working = [each for each in self.nodes if not each.shutting_down]
        any_group = node in working[: processes_for_stacks()]
        group = next((group for group in self.workqueue if any_group or not starts_relay(group)), None)
        if group is None:
            node.shutdown()
            return
        self.workqueue.move_to_end(group, last=False)  # the next one that the base class takes
        super()._assign_work_unit(node)
