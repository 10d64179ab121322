"""Opens a pull request for the commits of one clone: its branch is pushed, then the host of the remote is asked.

Repeating it changes nothing: a pull request that is open for the same branches is taken, not made again.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from relay_core.domain.errors import Conflict, InvalidInput, StepFailed
from relay_core.domain.forges import ForgePlace, Forges
from relay_core.domain.step import MergeStep, PushStep
from relay_core.domain.vocabulary import Reason
from relay_core.secret_box import SecretBox, SecretName, Undecryptable
from relay_core.store.merges import acts, pull_requests
from relay_core.store.merges.pull_requests import Told
from relay_core.store.transaction import Database
from relay_workers.execution.git_work import GitWork, States
from relay_workers.execution.push_act import push
from relay_workers.forges.port import Draft, ForgeFailed, PullRequest
from relay_workers.forges.registry import FORGES
from relay_workers.ownership.leases import Leases

_TOKEN = re.compile(r"[\x21-\x7e]+")


class NoToken(StepFailed):
    """The project has no usable secret with the token for the host of a pull request."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.SECRET_MISSING, message)


@dataclass(frozen=True)
class Tokens:
    """The tokens for hosts of pull requests, which are secrets of projects.

    Attributes:
        forges: the hosts whose API is known.
    """

    database: Database
    secrets: SecretBox
    forges: Forges

    def of(self, project: SecretName) -> str:
        """Return the value of a secret.

        Raises:
            NoToken: the project has no such secret, it cannot be decrypted, or it cannot stand in a header.
        """
        with self.database.connect() as connection:
            ciphertext = pull_requests.token(connection, project.project_id, project.name)
        if ciphertext is None:
            raise NoToken(f"the project has no secret {project.name}; store the token: relay secret set {project.name}")
        try:
            token = self.secrets.open(project, ciphertext).strip()
        except (Conflict, Undecryptable) as error:
            raise NoToken(f"the secret {project.name} cannot be decrypted: {error}") from error
        if not _TOKEN.fullmatch(token):
            message = f"the secret {project.name} is no token: a token is one word of ASCII characters"
            raise NoToken(f"{message}; store the right value: relay secret set {project.name}")
        return token


def open_pull_request(work: GitWork, step: MergeStep, leases: Leases, tokens: Tokens) -> States:
    """Push the workspace's branch and open a pull request; return the recorded state of the clone.

    Raises:
        StepFailed: `merge_failed`: the host refused it; `secret_missing`: there is no token; or as a push.
        OwnershipLost: another worker owns the execution, or this worker shuts down.
    """
    repo, branch = work.repo(step.repo), work.workspace.row.branch
    try:
        place = tokens.forges.place_of(repo.url)
    except InvalidInput as error:
        raise StepFailed(Reason.MERGE_FAILED, str(error)) from error
    with work.database.connect() as connection:
        secret = pull_requests.secret_of(connection, step.merge_id) or place.kind.token_secret
    token = tokens.of(SecretName(work.workspace.row.project_id, secret))
    states = push(work, PushStep(step.repo))
    source = str(states[repo.repo_id]["after_head_commit"])
    with work.database.begin() as connection:
        acts.begin(connection, work.claimed, step.merge_id, source)
    work.check_wanted()
    leases.confirm(work.control)
    title, _, body = step.message.strip().partition("\n")
    draft = Draft(title, body.strip(), branch, step.target_branch)
    work.log.say(f"opening a pull request from {branch} into {step.target_branch} at {place.api_url}")
    found = _asked(work, place, lambda: FORGES[place.kind].open(place, draft, token))
    with work.database.begin() as connection:
        pull_requests.opened(connection, work.claimed, step.merge_id, told_of(found))
    work.log.say(f"pull request {found.number} is {found.status}: {found.url}")
    return states


def told_of(found: PullRequest) -> Told:
    """Return what the database stores of a pull request."""
    return Told(found.number, found.url, found.status, found.merged_at, found.merge_commit)


def _asked(work: GitWork, place: ForgePlace, ask: Callable[[], PullRequest]) -> PullRequest:
    try:
        return ask()
    except ForgeFailed as error:
        message = f"no pull request of {place.path} can be opened: {work.mask.text(str(error))}"
        raise StepFailed(Reason.MERGE_FAILED, message) from error
