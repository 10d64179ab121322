"""The errors of Relay as a tree. Each line says who has to act; the error's message says what to do.

RelayError                        something went wrong in Relay; the API answers 500
  InvalidInput                    the client changes its request: 422
  NotFound                        the client names something that exists: 404
    NoBundle                      a state has no git bundle; the message says why (store.workspaces.bundles)
    UnknownExecution              the worker ends the execution: PID 1 never got its start (containers.pid1.errors)
  Conflict                        the client waits, or changes the state first: 409
    Ambiguous                     the client gives more of an id
    SecretsNotConfigured          the operator sets RELAY_SECRET_KEYS (secret_box)
    AlreadyStarted                the worker attaches to the step that was started before (containers.pid1.errors)
    StartForbidden                the worker ends the execution as never started (containers.pid1.errors)
    NotRunning                    the step has ended, or has no terminal (containers.pid1.errors)
  Gone                            the client goes on without what was removed: 410
    LogRemoved                    the bytes of a log were removed, when and why (store.logs.removed)
  Stale                           the worker stops working on the execution: another worker owns it
  StepFailed                      the execution ends as failed or killed, with a `Reason`
    JobFileInvalid                relay.toml of the repository has a fault (job_file)
    TamperedFile                  a file is not the one that Relay made (host_files.safe_dir)
    RemoteRefused                 the repository is missing, or may not be cloned (git.host.local_remote)
    StartPointMissing             the branch to check out is missing (git.port)
    NoToken                       a project lacks the token for pull requests (execution.pull_request_act)
    GitCancelled                  git was stopped because a kill was requested (git.host.process)
    Pid1Gone                      the container ended or was started again (containers.pid1.errors)
    OtherFirstProcess             an earlier version made the container: start a new run (containers.docker.channels)
    PidsLimitReached              the container has as many processes as it may have (containers.pid1.errors)
  LogStoreUnavailable             Postgres does not answer: the worker repeats the append (store.outage)
  EngineUnavailable               the container engine does not answer: the worker repeats the call (containers.port)
    Pid1Silent                    PID 1 did not answer: the worker asks the engine (containers.pid1.errors)
    EventsLost                    the worker watches its executions again (containers.pid1.errors)
  DialFailed                      nothing accepts a connection on a container's port (containers.pid1.errors)
  DeadlinePassed                  git took too long: the worker ends the step (git.host.process)
  ForgeFailed                     the host of a pull request refuses: the merge ends, or it is asked later (forges.port)
  NotKept                         an idle workspace stays: its work cannot be kept (maintenance.expired_workspaces)
  TooManyRefs                     a remote is too large: the worker ends the step (git.host.advertisement)
  Undecryptable                   the operator restores a key of the secrets (secret_box)
  VersionMalformed                the operator corrects the floor of a pool (attachment)
  SchemaMismatch                  the operator runs `relay db upgrade` (store.schema.revision)
  SchemaLocked                    the operator repeats `relay db upgrade` (store.schema.migrate)
  DataDirElsewhere                worker and engine need one data directory (containers.docker.data_dir_probe)
  ProgramMissing                  the operator installs a wheel or builds relay-pid1 (containers.pid1.install)
  NoStepsHere                     the operator mends the node, on which no step can run (containers.self_check)
  DirectoryNotPrivate             the operator corrects the mode of a directory (host_files.private_dirs)
  NoFreeName                      the operator stops some workers of this node (ownership.node_identity)
  PortTaken                       the operator chooses another port for the worker's health page (health)
  StackProblem                    the user repairs the machine on which the local stack runs (relay_stack.errors)

Not below it, so no subclasses of RelayError: `IllegalTransition` (domain.execution) is a bug; `OwnershipLost`
(ownership.live_executions) is caught inside the worker; `RunFailed` and `RunKilled` (celery.reporting) are shown by
Flower; `ApiError` (relay_api) is an error of HTTP itself; `CommandFailed` (relay_cli) ends the command.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


class RelayError(Exception):
    """Something went wrong in Relay. Base class of Relay's errors."""

    code = "internal_error"
    """Stable word for programs: the `code` of a problem+json answer."""


class InvalidInput(RelayError, ValueError):  # noqa: N818 - reads as what it says
    """A request that cannot be carried out as it is written.

    Attributes:
        field: dotted path of the wrong field; None if the error belongs to no single field.
    """

    code = "invalid_input"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.field = field


class NotFound(RelayError, LookupError):  # noqa: N818
    """The named thing does not exist, or the client's token may not see it."""

    code = "not_found"


class Gone(RelayError):  # noqa: N818
    """The named thing existed and was removed by a rule of the server."""

    code = "gone"


class Conflict(RelayError):  # noqa: N818
    """A valid request that cannot be carried out in the present state of the thing it names."""

    code = "conflict"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code


@dataclass(frozen=True)
class Candidate:
    """A thing that an id may stand for.

    Attributes:
        kind: what it is: project, task, workspace, session, execution.
        id: its whole id.
        title: text by which people recognise it.
        created_at: when it was made.
    """

    kind: str
    id: UUID
    title: str | None
    created_at: datetime


class Ambiguous(Conflict):
    """The beginning of an id, or the id of something related, stands for several things.

    Attributes:
        candidates: these things, newest first.
    """

    def __init__(self, text: str, candidates: Sequence[Candidate]) -> None:
        some = ", ".join(f"{each.kind} {each.id}" for each in candidates[:3])
        more = ", …" if len(candidates) > 3 else ""
        super().__init__(f"{text} may be {some}{more}: give more of the id", code="ambiguous_id")
        self.candidates = candidates


class Stale(RelayError):  # noqa: N818
    """The caller does not own the execution any more: the stored fence is not the one of its claim.

    The write was refused, and the caller must not touch the execution any further. A *fence* is a number that grows
    with each change of owner.
    """

    code = "stale_fence"


class StepFailed(RelayError):  # noqa: N818
    """A step cannot continue; the execution ends with this error's reason and message.

    Attributes:
        reason: a `relay_core.domain.vocabulary.Reason` value.
    """

    code = "step_failed"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
