"""Carries out the clone of a project: fetches each of its repositories into a mirror of this node.

No workspace, container or process belongs to it. It can be repeated without harm: a worker that takes the execution
over fetches again.
"""

from collections.abc import Callable
from functools import partial

from relay_core.domain import execution as machine
from relay_core.domain.errors import Stale, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.store.executions.claim import Claimed
from relay_core.store.executions.finish import Evidence
from relay_core.store.outage import is_away
from relay_core.store.projects import clones
from relay_core.store.transaction import Database
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.execution.outcome import Outcome, as_failure, end_of
from relay_workers.execution.progress_events import Tell
from relay_workers.execution.step_log import StepLog
from relay_workers.git.port import FetchRequest
from relay_workers.ownership.live_executions import ExecutionControl, OwnershipLost

OpenLog = Callable[[Claimed, ExecutionControl], StepLog]
"""Opens the log of the clone of a project; the worker itself writes to it."""


class ProjectClone:
    """Clones projects. Each worker has one.

    Args:
        database: lists the repositories of a project.
        mirrors: fetches them.
        open_log: opens the execution's log.
    """

    def __init__(self, database: Database, mirrors: MirrorFetches, open_log: OpenLog) -> None:
        self._database = database
        self._mirrors = mirrors
        self._open_log = open_log

    def run(self, claimed: Claimed, control: ExecutionControl) -> Outcome:
        """Fetch the repositories one after the other, also after one that fails; the first failure is the outcome.

        Raises:
            OwnershipLost: another worker owns the execution, or this worker shuts down.
            Stale: another worker owns the execution.
        """
        with self._open_log(claimed, control) as log, self._mirrors.progress_of(claimed) as tell:
            try:
                self._fetch_all(claimed, control, log, tell)
            except (OwnershipLost, Stale):
                raise
            except Exception as error:
                if control.lost.is_set() or is_away(error):
                    raise
                transition = end_of(as_failure(error), kill_asked=control.kill.is_set())
            else:
                transition = machine.completed(0)
            return Outcome(transition, Evidence(log_ends=log.ends()), gone=True)

    def _fetch_all(self, claimed: Claimed, control: ExecutionControl, log: StepLog, tell: Tell) -> None:
        if claimed.project_id is None:
            raise TypeError("the execution names no project")
        with self._database.connect() as connection:
            project = clones.load(connection, claimed.project_id)
        failures: list[StepFailed] = []
        for remote in project.remotes:
            if control.lost.is_set():
                raise OwnershipLost
            if control.kill.is_set():
                raise StepFailed(Reason.USER, "killed while the project was being cloned")
            log.say(f"cloning {remote}")
            try:
                on_progress = partial(tell, remote)
                self._mirrors.fetch(FetchRequest(project.id, remote, None, log.write, control.stop, None, on_progress))
            except StepFailed as failure:
                if failure.reason == Reason.USER:
                    raise
                failures.append(failure)
                log.say(str(failure))
        if failures:
            raise failures[0]
        log.say(f"project {project.name} is cloned")
