"""The secrets of a workspace in plain: for one execution's environment, and to be masked in all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.logs.secret_forms import maskable
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.secret_box import SecretBox, SecretName, SecretsNotConfigured, Undecryptable
from relay_core.store.projects.secrets import MAX_MASKED_BYTES, Given
from relay_core.store.workspaces.workspace_rows import WorkspaceRow


@dataclass(frozen=True)
class Grant:
    """What one execution gets."""

    env: Mapping[str, str]
    given: tuple[Given, ...]
    """The same, encrypted: noted before it starts."""


def grant(box: SecretBox, row: WorkspaceRow, run_reason: RunReason) -> Grant:
    """The secrets of an execution, decrypted; none where its kind gets none.

    Raises:
        StepFailed: `secret_missing`: one was deleted since, or cannot be decrypted; `start_failed`: they are more than
            can be masked.
    """
    env: dict[str, str] = {}
    given: list[Given] = []
    for one in row.used_secrets if run_reason in row.secrets_in else ():
        if one.ciphertext is None:
            name, project = one.secret_name, row.project_id
            message = f"the secret {name} was deleted; store it again: relay secret set {name} --project {project}"
            raise StepFailed(Reason.SECRET_MISSING, message)
        env[one.env_name] = _opened(box, row.project_id, Given(one.secret_name, one.ciphertext))
        given.append(Given(one.secret_name, one.ciphertext))
    if env:
        _check_size({*_had(box, row), *env.values()})
    return Grant(env, tuple(given))


def to_mask(box: SecretBox, row: WorkspaceRow) -> tuple[bytes, ...]:
    """What no log of the workspace may show, in every form: a step may print what another one has written down.

    Of values that no execution has had, as many as can be masked beside the others: `grant` gives out no more.

    Raises:
        StepFailed: `secret_missing`: a value that executions have had cannot be decrypted.
    """
    values = _had(box, row)
    left = MAX_MASKED_BYTES - _size(values)
    for one in row.used_secrets:
        if one.ciphertext is None:
            continue
        try:
            value = _opened(box, row.project_id, Given(one.secret_name, one.ciphertext))
        except StepFailed:  # nothing had it, and nothing gets it
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


def _had(box: SecretBox, row: WorkspaceRow) -> set[str]:
    return {*row.secrets, *(_opened(box, row.project_id, one) for one in row.given_secrets)}


def _size(values: set[str]) -> int:
    return sum(len(value.encode("utf-8", "surrogateescape")) for value in values)


def _opened(box: SecretBox, project_id: UUID, stored: Given) -> str:
    try:
        return box.open(SecretName(project_id, stored.secret_name), stored.ciphertext)
    except (Undecryptable, SecretsNotConfigured) as error:
        message = f"the secret {stored.secret_name} cannot be decrypted on this node: {error}"
        raise StepFailed(Reason.SECRET_MISSING, message) from error
