"""Decrypts the secrets of a workspace, for the environment of one execution and for the masks of all executions."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.secret_forms import maskable
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.secret_box import SecretBox, SecretName, SecretsNotConfigured, Undecryptable
from relay_core.store.projects.secrets import MAX_MASKED_BYTES, GivenValue
from relay_core.store.workspaces.workspace_row import WorkspaceRow


@dataclass(frozen=True)
class Grant:
    """The secrets that one execution gets: ``env`` maps variable names to decrypted values."""

    env: Mapping[str, str]
    given: tuple[GivenValue, ...]
    """The same secrets, encrypted.

    They are stored before the execution starts, so that every worker masks them from then on.
    """


def grant(box: SecretBox, row: WorkspaceRow, run_reason: RunReason) -> Grant:
    """Decrypt the secrets of an execution. Executions of a kind that the workspace gives no secrets to get none.

    Raises:
        StepFailed: `secret_missing`: a secret was deleted or cannot be decrypted; `start_failed`: the secrets have more
            bytes than can be masked.
    """
    env: dict[str, str] = {}
    given: list[GivenValue] = []
    for secret in row.used_secrets if run_reason in row.secrets_in else ():
        if secret.ciphertext is None:
            name, project = secret.secret_name, row.project_id
            message = f"the secret {name} was deleted; store it again: relay secret set {name} --project {project}"
            raise StepFailed(Reason.SECRET_MISSING, message)
        env[secret.env_name] = _opened(box, row.project_id, GivenValue(secret.secret_name, secret.ciphertext))
        given.append(GivenValue(secret.secret_name, secret.ciphertext))
    if env:
        _check_size({*_values_given_before(box, row), *env.values()})
    return Grant(env, tuple(given))


def to_mask(box: SecretBox, row: WorkspaceRow) -> tuple[bytes, ...]:
    """Return all values that no log of the workspace may show, each in every form in which it is masked.

    A step may print a value that an earlier step got and wrote to a file; so the values of all executions are included.
    Values that no execution has got yet are included as far as the limit on masked bytes allows; `grant` refuses to
    give out more.

    Raises:
        StepFailed: `secret_missing`: a value that an execution has got cannot be decrypted.
    """
    values = _values_given_before(box, row)
    left = MAX_MASKED_BYTES - _size(values)
    for secret in row.used_secrets:
        if secret.ciphertext is None:
            continue
        try:
            value = _opened(box, row.project_id, GivenValue(secret.secret_name, secret.ciphertext))
        except StepFailed:  # no execution has got the value, and none will
            continue
        if value not in values and (left := left - _size({value})) >= 0:
            values.add(value)
    return maskable(values)


def _check_size(values: set[str]) -> None:
    size = _size(values)
    if size > MAX_MASKED_BYTES:
        raise StepFailed(
            Reason.START_FAILED,
            f"the secrets of this workspace, with the values that its executions have had before, have {size} bytes; "
            f"at most {MAX_MASKED_BYTES} can be masked: store shorter values, or start a new run",
        )


def _values_given_before(box: SecretBox, row: WorkspaceRow) -> set[str]:
    return {*row.secrets, *(_opened(box, row.project_id, given) for given in row.given_secrets)}


def _size(values: set[str]) -> int:
    return sum(len(value.encode("utf-8", "surrogateescape")) for value in values)


def _opened(box: SecretBox, project_id: UUID, stored: GivenValue) -> str:
    try:
        return box.open(SecretName(project_id, stored.secret_name), stored.ciphertext)
    except (Undecryptable, SecretsNotConfigured) as error:
        message = f"the secret {stored.secret_name} cannot be decrypted on this node: {error}"
        raise StepFailed(Reason.SECRET_MISSING, message) from error
