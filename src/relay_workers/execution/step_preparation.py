"""Prepares a step: makes its log files, and stores what another worker needs to take its process over."""

from collections.abc import Mapping

from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.process_handle import ProcessHandle
from relay_core.domain.vocabulary import RunReason
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.executions import owned
from relay_core.store.executions.claim import Claimed
from relay_core.store.projects import secrets as stored_secrets
from relay_core.store.transaction import Database
from relay_workers.containers.port import StepStart
from relay_workers.containers.run_files import RunFiles
from relay_workers.execution.environment import step_environment
from relay_workers.execution.secret_values import Grant, grant, to_mask
from relay_workers.execution.step_place import StepPlace, step_uid
from relay_workers.execution.step_plan import plan_step
from relay_workers.execution.torn_conversation import mend_conversation
from relay_workers.execution.turn_images import place_images
from relay_workers.execution.working_dir import check_working_dir
from relay_workers.execution.workspace import WorkspaceHandle
from relay_workers.git.port import Git


class StepPreparation:
    """Prepares steps: makes their log files, and stores what another worker needs to take them over.

    Args:
        settings: environment variables and time limits.
        database: stores HEAD commits, process handles and the secrets given to steps.
        git: reads the HEAD commits before the step.
        secrets: decrypts the secrets that the step gets.
    """

    def __init__(self, settings: Settings, database: Database, git: Git, secrets: SecretBox) -> None:
        self._settings = settings
        self._database = database
        self._git = git
        self._secrets = secrets

    def place(self, claimed: Claimed, workspace: WorkspaceHandle, fence: int) -> StepPlace:
        """Return where and under which ids a step runs.

        Args:
            claimed: the execution.
            workspace: the workspace in which it runs.
            fence: the fence of the owner that started the process, or is about to start it; it names the log files.

        Raises:
            StepFailed: `secret_missing`: a value to mask cannot be decrypted.
        """
        return StepPlace(
            workspace,
            RunFiles(self._settings.data_dir, claimed.execution_id, fence),
            SecretMask(to_mask(self._secrets, workspace.row)),
            step_uid(claimed, workspace),
        )

    def prepare(
        self, claimed: Claimed, workspace: WorkspaceHandle, extra_env: Mapping[str, str]
    ) -> tuple[StepPlace, StepStart]:
        """Make the log files of a step; store HEAD commits, process handle and given secrets in Postgres.

        Args:
            claimed: the execution.
            workspace: the workspace in which it runs.
            extra_env: variables that override all others.

        Returns:
            Where the step runs, and the request that starts it.

        Raises:
            StepFailed: `secret_missing`, `start_failed` or `cannot_resume`, with the cause.
        """
        granted = grant(self._secrets, workspace.row, claimed.run_reason)
        place = self.place(claimed, workspace, claimed.fence)
        check_working_dir(workspace.directory, claimed.step.cwd)
        images = place_images(self._database, claimed, workspace)
        mend_conversation(self._database, claimed, workspace, place.mask)
        plan = plan_step(self._database, claimed, workspace, images)
        place.files.create()
        self._note(claimed, place, granted)
        step = StepStart(
            files=place.files,
            uid=place.uid,
            gid=claimed.gid,
            cwd=f"/workspace/{claimed.step.cwd}",
            script=plan.script,
            stdin=plan.stdin,
            env={
                **plan.env,
                **step_environment(self._settings, workspace.row, claimed.execution_id),
                **granted.env,
                **extra_env,
            },
            deadline_seconds=self._last_resort(claimed, workspace),
        )
        return place, step

    def _note(self, claimed: Claimed, place: StepPlace, granted: Grant) -> None:
        """Store the HEAD of every repository, the fence of the start, and the secrets that the step gets.

        From here on, a worker that takes the execution over knows that the process may have started, and masks these
        secrets.
        """
        workspace = place.workspace
        heads = workspace.by_repo_id(self._git.heads(workspace.directory, workspace.repo_names))
        with self._database.begin() as connection:
            owned.record_before_heads(
                connection,
                claimed.execution_id,
                claimed.fence,
                {repo: head.commit for repo, head in heads.items()},
                ProcessHandle(claimed.gid, place.files.fence),
            )
            stored_secrets.note_given(connection, workspace.row.id, granted.given)

    def _last_resort(self, claimed: Claimed, workspace: WorkspaceHandle) -> float | None:
        """Return the seconds after which relay-pid1 itself kills the step if no worker did.

        None for a dev server, which has no time limit.
        """
        if claimed.run_reason is RunReason.DEV_SERVER:
            return None
        limits = workspace.row.limits
        return limits.timeout_seconds + limits.kill_grace_seconds + self._settings.last_resort_seconds
