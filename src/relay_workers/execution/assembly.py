"""Builds the runner of a worker, and the parts that carry out its executions."""

from collections.abc import Mapping

from relay_core.domain.forges import Forges
from relay_core.domain.limits import Limits
from relay_core.domain.vocabulary import RunReason
from relay_core.store.executions.claim import Claimed
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.execution.anchors import Anchors
from relay_workers.execution.broken_steps import BrokenSteps
from relay_workers.execution.clone import Choice, OpenLog, WorkspacePreparation
from relay_workers.execution.context import WorkerContext
from relay_workers.execution.copied_files import CopiedFiles
from relay_workers.execution.dev_server import DevServerSession
from relay_workers.execution.end_writer import EndPublisher, EndWriter
from relay_workers.execution.ending import ProcessEnder
from relay_workers.execution.evidence import EvidenceCollector
from relay_workers.execution.git_acts import GitActs
from relay_workers.execution.git_watch import GitWatch
from relay_workers.execution.imported_states import ImportedStates
from relay_workers.execution.job_files import JobFiles
from relay_workers.execution.mirrors import MirrorFetches
from relay_workers.execution.outcome import Outcome
from relay_workers.execution.partial_evidence import PartialEvidence
from relay_workers.execution.project_clone import ProjectClone
from relay_workers.execution.pull_request_act import Tokens
from relay_workers.execution.remade_container import RemadeContainers
from relay_workers.execution.runner import Runner, Step
from relay_workers.execution.running_step import StepOutputs
from relay_workers.execution.secret_refresh import SecretRefresh
from relay_workers.execution.step_finisher import StepFinisher
from relay_workers.execution.step_log import StepLog
from relay_workers.execution.step_preparation import StepPreparation
from relay_workers.execution.step_session import StepParts, StepSession
from relay_workers.execution.step_starter import StepStarter
from relay_workers.execution.stored_files import StoredFiles
from relay_workers.execution.usable_image import Images
from relay_workers.execution.workspace import Workspaces
from relay_workers.execution.workspace_container import WorkspaceContainers
from relay_workers.ownership.claims import Claims
from relay_workers.ownership.live_executions import ExecutionControl

GIT_ACTS = tuple(reason for reason in RunReason if reason.is_git_act)


def make_runner(context: WorkerContext) -> Runner:
    """Build the runner of a worker; no thread is started."""
    look = make_git_watch(context).look
    claims = Claims(context.settings, context.database, context.claimant, context.live, context.admission, look)
    evidence = make_partial_evidence(context)
    broken = BrokenSteps(context.leases, _ender(context), context.retry_while_silent, evidence)
    publisher = EndPublisher(context.live_logs, context.metrics, context.admission)
    ends = EndWriter(context.database, context.claimant.node_id, evidence, publisher)
    return Runner(claims, make_steps(context), broken, ends, context.live, context.metrics)


def make_git_watch(context: WorkerContext) -> GitWatch:
    """Build the part that compares the clones of this node with what was recorded of them."""
    where = (context.claimant.node_id, context.settings.data_dir, context.database)
    return GitWatch(*where, context.git, context.secrets, make_anchors(context).sweep)


def make_anchors(context: WorkerContext) -> Anchors:
    """Build the part that compares the directories of workspaces with their rows."""
    return Anchors(context.claimant.node_id, context.settings.data_dir, context.database)


def make_partial_evidence(context: WorkerContext) -> PartialEvidence:
    """Build the collector of evidence for executions whose own session cannot collect it."""
    return PartialEvidence(context.database, context.logs, context.git, context.secrets, _workspaces(context))


def make_steps(context: WorkerContext) -> Mapping[RunReason, Step]:
    """Return the function that carries out an execution, for each kind (`RunReason`) of execution."""
    parts, watch = make_step_parts(context), make_git_watch(context)

    def run_step(claimed: Claimed, control: ExecutionControl) -> Outcome:
        return StepSession(parts, claimed, control).run()

    def run_dev_server(claimed: Claimed, control: ExecutionControl) -> Outcome:
        seconds = context.settings.dev_server_start_seconds
        session = DevServerSession(parts, claimed, control, context.forwarder, context.retry_while_silent, seconds)
        outcome = session.run()
        watch.look(claimed.execution_id)  # before the end is written, so that what is found names this server
        return outcome

    mirrors = make_mirrors(context)
    prepare, clone_project = make_workspace_preparation(context, mirrors), make_project_clone(context, mirrors)

    def run_clone(claimed: Claimed, control: ExecutionControl) -> Outcome:
        return (clone_project if claimed.in_workspace is None else prepare).run(claimed, control)

    return dict.fromkeys(RunReason, run_step) | {
        RunReason.CLONE: run_clone,
        RunReason.DEV_SERVER: run_dev_server,
        **dict.fromkeys(GIT_ACTS, make_git_acts(context, mirrors).run),
    }


def make_step_parts(context: WorkerContext) -> StepParts:
    """Build the parts that carry out steps with a process in a container."""
    settings, database = context.settings, context.database
    refresh = SecretRefresh(database, context.secrets, context.live)
    tail_seconds = settings.log_tail_seconds
    return StepParts(
        workspaces=_workspaces(context),
        preparation=StepPreparation(settings, database, context.git, context.secrets),
        outputs=StepOutputs(context.pump, context.logs, database),
        starter=StepStarter(settings, context.containers, context.leases, context.metrics),
        finisher=StepFinisher(context.containers, _ender(context), context.leases, refresh, tail_seconds),
        evidence=EvidenceCollector(database, context.git),
        database=database,
        tail_seconds=tail_seconds,
    )


def make_project_clone(context: WorkerContext, mirrors: MirrorFetches) -> ProjectClone:
    """Build the part that carries out `clone` executions of projects, without a workspace."""

    def open_log(claimed: Claimed, control: ExecutionControl) -> StepLog:
        return _step_log(context, claimed, control, Limits().log_bytes)

    return ProjectClone(context.database, mirrors, open_log)


def make_mirrors(context: WorkerContext) -> MirrorFetches:
    """Build the part that fetches into mirrors; all clones of a worker share it."""
    return MirrorFetches(context.database, context.git, context.claimant.node_id)


def _step_log(context: WorkerContext, claimed: Claimed, control: ExecutionControl, log_bytes: int) -> StepLog:
    ids = (claimed.execution_id, claimed.fence)
    return StepLog(context.logs, context.live_logs, *ids, log_bytes=log_bytes, lost=control.lost)


def make_workspace_preparation(context: WorkerContext, mirrors: MirrorFetches) -> WorkspacePreparation:
    """Build the part that carries out `clone` executions of workspaces."""
    settings, containers = context.settings, context.containers
    return WorkspacePreparation(
        _workspaces(context),
        context.git,
        Choice(
            mirrors,
            JobFiles(settings, context.database, context.git, containers),
            Images(settings, containers, context.tool),
            CopiedFiles(settings, StoredFiles(context.database, context.secrets)),
            ImportedStates(context.git, context.database),
        ),
        WorkspaceContainers(settings, containers, context.database, context.claimant.node_id),
        context.leases,
        _open_log(context),
    )


def make_remade_containers(context: WorkerContext) -> RemadeContainers:
    """Build the part that makes new containers for workspaces that have their files."""
    settings, containers = context.settings, context.containers
    maker = WorkspaceContainers(settings, containers, context.database, context.claimant.node_id)
    return RemadeContainers(_workspaces(context), Images(settings, containers, context.tool), maker)


def make_git_acts(context: WorkerContext, mirrors: MirrorFetches) -> GitActs:
    """Build the part that carries out git acts: `push`, `reset`, `merge` and `rebase` executions."""
    return GitActs(
        _workspaces(context),
        context.git,
        mirrors,
        make_tokens(context),
        context.database,
        context.secrets,
        context.leases,
        _open_log(context),
    )


def make_tokens(context: WorkerContext) -> Tokens:
    """Build the reader of tokens for hosts of pull requests."""
    return Tokens(context.database, context.secrets, Forges(context.settings.forges))


def _open_log(context: WorkerContext) -> OpenLog:
    """Return the function that opens the log of an execution to which the worker itself writes."""

    def open_log(claimed: Claimed, row: WorkspaceRow, control: ExecutionControl) -> StepLog:
        return _step_log(context, claimed, control, row.limits.log_bytes)

    return open_log


def _workspaces(context: WorkerContext) -> Workspaces:
    return Workspaces(context.database, context.containers, context.retry_while_silent, context.settings)


def _ender(context: WorkerContext) -> ProcessEnder:
    return ProcessEnder(context.containers, context.database)
