"""Make a git bundle of the commits that a workspace added to its base commit, so that they can leave the node.

A bundle is thin: it needs the base commit, which the clone that reads it has. It cannot be masked, since other content
has other ids. So if a secret is in one of its objects, or may be, no bundle is made; the reason is returned instead.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.host.process import Deadline, DeadlinePassed, GitJob, GitResult, run_git
from relay_workers.git.port import Bundle

_SEARCHED = 4
"""The objects of a bundle may together have this many times its largest size, if secrets have to be looked for."""
_SECRET = "its commits contain a secret, which a bundle cannot mask; the diff has it masked"  # noqa: S105 - a message


@dataclass(frozen=True, slots=True)
class BundleMaker:
    """Makes bundles from one store. Git reads Relay's own repository with Relay's configuration, and runs no hook.

    Args:
        settings: settings of the worker.
        store: directory of the store.
    """

    settings: Settings
    store: Path

    def make(self, branch: str, base: str, commit: str, mask: SecretMask) -> Bundle:
        """Return a bundle whose only ref is a branch at ``commit``, and whose prerequisite is the base commit.

        Args:
            branch: name of the branch.
            base: id of the commit at which the branch starts.
            commit: id of the commit at which it ends; another one than ``base``.
            mask: knows the secrets that must not leave.

        Raises:
            StepFailed: reason ``internal_error``: git failed, or ran out of time or memory.
        """
        try:
            if problem := self.secret_in(base, commit, mask):
                return Bundle(None, problem)
            limit, ref = self.settings.bundle_max_bytes, f"refs/heads/{branch}"
            self._checked(GitJob(("update-ref", ref, commit), git_dir=self.store))
            argv = ("bundle", "create", "--quiet", "--version=2", "-", ref, f"^{base}")
            result = self._checked(self._job(argv, limit))
        except DeadlinePassed as error:
            raise StepFailed(Reason.INTERNAL_ERROR, "the bundle took too long") from error
        if result.truncated:
            return Bundle(None, f"its commits need a bundle of more than {limit} bytes (RELAY_BUNDLE_MAX_BYTES)")
        return Bundle(result.output)

    def secret_in(self, base: str, commit: str, mask: SecretMask) -> str | None:
        """Return why commits would or might reveal a secret; None if none of their objects and paths contains one.

        Raises:
            StepFailed: reason ``internal_error``: git failed, or ran out of memory.
            DeadlinePassed: git took too long.
        """
        if not mask.secrets:
            return None
        limit = _SEARCHED * self.settings.bundle_max_bytes
        listed = self._checked(self._job(("rev-list", "--objects", commit, f"^{base}", "--"), limit))
        with tempfile.TemporaryFile() as wanted:
            wanted.writelines(line.partition(b" ")[0] + b"\n" for line in listed.output.splitlines())
            wanted.seek(0)
            contents = self._checked(self._job(("cat-file", "--batch"), limit, wanted.fileno()))
        if listed.truncated or contents.truncated:
            return f"its objects have more than {limit} bytes, too many to look for secrets in (RELAY_BUNDLE_MAX_BYTES)"
        clean = all(mask.data(data) == data for data in (listed.output, contents.output))
        return None if clean else _SECRET

    def _job(self, argv: tuple[str, ...], output_limit: int, stdin: int | None = None) -> GitJob:
        memory = self.settings.git_host_memory_bytes
        return GitJob(argv, git_dir=self.store, stdin=stdin, memory_bytes=memory, output_limit=output_limit)

    def _checked(self, job: GitJob) -> GitResult:
        result = run_git(job, Deadline.within(self.settings.git_container_timeout_seconds))
        if result.exit_code and not result.truncated:
            raise StepFailed(Reason.INTERNAL_ERROR, f"the bundle cannot be made: {result.message[:300]}")
        return result
