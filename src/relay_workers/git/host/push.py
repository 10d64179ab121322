"""Push commits of a store to a remote, on the host: the store is bare, only Relay writes it, and nothing in it runs."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.git.branch_name import is_valid_branch
from relay_core.domain.git.url import GitUrl, parse_git_url, redact
from relay_core.domain.logs.masking import SecretMask
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.act_requests import Pushed, PushRequest
from relay_workers.git.host.bundle import BundleMaker
from relay_workers.git.host.local_remote import refuse_hooks
from relay_workers.git.host.process import Deadline, DeadlinePassed, GitCancelled, GitJob, GitResult, run_git
from relay_workers.git.host.progress import ProgressLog
from relay_workers.git.host.remote import Connection, connect, explain_failure
from relay_workers.git.host.store import Store

_LINES_NAMED = 5
_TEXT_LIMIT = 500
_BUSY = re.compile(r"cannot lock ref|failed to update ref|Unable to create '.*\.lock'")
_BUSY_TRIES = 5
_BUSY_SECONDS = 1.0
_COMMIT = re.compile("[0-9a-f]{40}")
_BEHIND = ("fetch first", "non-fast-forward", "needs force")
# Git reads this configuration of the other end only from its command line, if the other end is on this node.
_RECEIVE = (
    "--receive-pack=git -c safe.directory=* -c protocol.allow=never -c core.hooksPath=/dev/null "
    "-c core.alternateRefsCommand=true -c core.fsmonitor=false -c receive.denyCurrentBranch=refuse "
    "-c receive.autogc=false -c receive.fsckObjects=true receive-pack"
)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Answer:
    """The line of ``git push --porcelain`` about the branch."""

    flag: str
    """``*`` new, a space fast-forward, ``+`` forced, ``=`` unchanged, ``!`` rejected."""
    text: str
    """The words of git in the last column."""


@dataclass(frozen=True, slots=True)
class _Reach:
    """One request on its way to the remote."""

    request: PushRequest
    url: GitUrl
    progress: ProgressLog
    deadline: Deadline


class Pusher:
    """Pushes commits of the stores of a node; see `Git.push`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def push(self, request: PushRequest) -> Pushed:
        """Push a commit to a branch of the remote. Errors: see `Git.push`."""
        return self._within_limits(request, self._push)

    def branch_at(self, request: PushRequest) -> str:
        """Return the commit of the branch at the remote; empty if there is none. Errors: see `Git.branch_at`."""
        return self._within_limits(request, self._look)

    def _within_limits(self, request: PushRequest, act: Callable[[_Reach], T]) -> T:
        url = parse_git_url(request.url, self._settings.remote_policy)
        if not is_valid_branch(request.branch):
            raise InvalidInput(f"{request.branch!r} is no valid branch name", code="branch_invalid")
        deadline = Deadline.within(self._settings.clone_timeout_seconds, request.cancelled)
        progress = ProgressLog(_masking(request.mask, request.on_output))
        try:
            return act(_Reach(request, url, progress, deadline))
        except DeadlinePassed as error:
            text = f"the push took longer than {self._settings.clone_timeout_seconds:g} s (RELAY_CLONE_TIMEOUT_SECONDS)"
            raise _failed(url, text, Reason.TIMEOUT) from error
        finally:
            progress.end()

    def _refuse_secrets(self, request: PushRequest, url: GitUrl) -> None:
        if request.commit == request.base_commit:
            return
        store = Store(self._settings, request.workspace_id, request.name)
        problem = BundleMaker(self._settings, store.path).secret_in(request.base_commit, request.commit, request.mask)
        if problem is not None:
            raise _failed(url, f"{problem}; remove the secret from the commits first")

    def _connect(self, reach: _Reach) -> Connection:
        try:
            connection = connect(reach.url, self._settings, reach.deadline)
            if reach.url.scheme == "file":
                refuse_hooks(reach.url, reach.deadline)
        except GitCancelled:
            raise
        except StepFailed as error:
            raise _failed(reach.url, _without_place(str(error), reach.url)) from error
        return connection

    def _push(self, reach: _Reach) -> Pushed:
        self._refuse_secrets(reach.request, reach.url)
        connection = self._connect(reach)
        for _ in range(_BUSY_TRIES - 1):
            result = self._run(reach, connection)
            if not _BUSY.search(_text(result)):
                return self._judge(reach.request, reach.url, result)
            _wait(reach.deadline)  # the push of a worker that died may be going on
        return self._judge(reach.request, reach.url, self._run(reach, connection))

    def _run(self, reach: _Reach, connection: Connection) -> GitResult:
        request, branch = reach.request, f"refs/heads/{reach.request.branch}"
        receive = (_RECEIVE,) if reach.url.scheme == "file" else ()
        lease = () if request.lease is None else (f"--force-with-lease={branch}:{request.lease}",)
        quiet = ("--porcelain", "--progress", "--no-verify", "--no-signed", "--no-follow-tags")
        refspec = f"{request.commit}:{branch}"
        argv = ("push", *quiet, "--recurse-submodules=no", *lease, *receive, "--", connection.url, refspec)
        store = Store(self._settings, request.workspace_id, request.name)
        return run_git(replace(self._job(reach, connection, argv), git_dir=store.path), reach.deadline)

    def _look(self, reach: _Reach) -> str:
        """Return the commit of the branch, which `git ls-remote` reads."""
        connection, name = self._connect(reach), f"refs/heads/{reach.request.branch}"
        argv = ("ls-remote", "--refs", *connection.options, "--", connection.url, name)
        result = run_git(self._job(reach, connection, argv), reach.deadline)
        if result.exit_code:
            why = _without_place(explain_failure(result.errors, reach.url), reach.url)
            raise _failed(reach.url, reach.request.mask.text(why))
        listed = (line.partition("\t") for line in result.output.decode("utf-8", "replace").splitlines())
        return next((commit for commit, _, ref in listed if ref == name and _COMMIT.fullmatch(commit)), "")

    def _job(self, reach: _Reach, connection: Connection, argv: tuple[str, ...]) -> GitJob:
        return GitJob(
            argv,
            config=connection.config,
            env=connection.env,
            memory_bytes=self._settings.git_host_memory_bytes,
            on_errors=reach.progress.write,
        )

    def _judge(self, request: PushRequest, url: GitUrl, result: GitResult) -> Pushed:
        """Return what was pushed, or raise the failure as a person needs it."""
        answer = _answer(result.output, request.branch)
        if answer is not None and answer.flag == "!":
            why = _rejection(answer, result, request.lease)
            raise _failed(url, f"branch {request.branch}: {request.mask.text(why)}", Reason.PUSH_REJECTED)
        if result.exit_code or answer is None:
            why = _without_place(explain_failure(result.errors, url), url)
            raise _failed(url, request.mask.text(why))
        return Pushed(request.commit, request.branch, changed=answer.flag != "=", replaced=answer.flag == "+")


def _masking(mask: SecretMask, target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """Return a receiver of complete lines that masks secrets and credentials in URLs before ``target`` gets them."""

    def write(data: bytes) -> None:
        target(mask.data(redact(data.decode("utf-8", "replace")).encode()))

    return write


def _failed(url: GitUrl, why: str, reason: Reason = Reason.PUSH_FAILED) -> StepFailed:
    return StepFailed(reason, f"cannot push to {url.display}: {why}")


def _without_place(text: str, url: GitUrl) -> str:
    """Return a message about a remote without its first words, which are about a clone."""
    return text.removeprefix(f"cannot clone {url.display}: ")


def _text(result: GitResult) -> str:
    return (result.output + result.errors).decode("utf-8", "replace")


def _wait(deadline: Deadline) -> None:
    until = time.monotonic() + _BUSY_SECONDS
    while time.monotonic() < until:
        deadline.pause("the push")


def _answer(output: bytes, branch: str) -> _Answer | None:
    """Return git's line about the branch; None if git printed none, because it did not reach the remote."""
    for line in output.decode("utf-8", "replace").splitlines():
        flag, _, rest = line.partition("\t")
        refs, _, text = rest.partition("\t")
        if len(flag) == 1 and refs.endswith(f":refs/heads/{branch}"):
            return _Answer(flag, text)
    return None


def moved(lease: str) -> str:
    """Return why a push replaces nothing: the branch is not at the commit that it may replace."""
    was = f"it was at {lease} then" if lease else "it did not exist then"
    return f"the branch has moved since this push began; {was}. Look at its commits, and push again to replace them"


def _rejection(answer: _Answer, result: GitResult, lease: str | None) -> str:
    """Return why the branch was refused: git's words, and what the remote itself said."""
    text = redact(answer.text)
    if lease is not None and "stale info" in text:
        return f"{text}: {moved(lease)}"
    if any(word in text for word in _BEHIND):
        return f"{text}: the branch has commits that the workspace does not have, and a push without force keeps them"
    lines = [
        line for line in redact(result.errors.decode("utf-8", "replace")).splitlines() if line.startswith("remote:")
    ]
    told = [line.removeprefix("remote:").strip() for line in lines]
    said = "; ".join([line for line in told if line][-_LINES_NAMED:])[:_TEXT_LIMIT]
    return f"{text} (the remote says: {said})" if said else text
