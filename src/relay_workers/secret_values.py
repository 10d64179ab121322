"""The secrets of a workspace in plain: for one execution's environment, and to be masked in all of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from relay_core.domain.errors import StepFailed
from relay_core.domain.secret_forms import maskable
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.postgres.secrets import Given
from relay_core.postgres.workspaces import WorkspaceRow
from relay_core.secret_box import SecretBox, SecretName, SecretsNotConfigured, Undecryptable


@dataclass(frozen=True)
class Grant:
    """What one execution gets."""

    env: Mapping[str, str]
    given: tuple[Given, ...]
    """The same, encrypted: noted before it starts."""


def grant(box: SecretBox, row: WorkspaceRow, run_reason: RunReason) -> Grant:
    """The secrets of an execution, decrypted; none where its kind gets none.

    Raises:
        StepFailed: `secret_missing`: one was deleted since, or cannot be decrypted.
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
    return Grant(env, tuple(given))


def to_mask(box: SecretBox, row: WorkspaceRow) -> tuple[bytes, ...]:
    """What no log of the workspace may show, in every form: a step may print what another one has written down.

    Raises:
        StepFailed: `secret_missing`: a value that executions have had cannot be decrypted.
    """
    values = set(row.secrets)
    values.update(_opened(box, row.project_id, one) for one in row.given_secrets)
    for one in row.used_secrets:
        if one.ciphertext is not None:
            try:
                values.add(_opened(box, row.project_id, Given(one.secret_name, one.ciphertext)))
            except StepFailed:  # nothing had it, and nothing gets it
                continue
    return maskable(values)


def _opened(box: SecretBox, project_id: UUID, stored: Given) -> str:
    try:
        return box.open(SecretName(project_id, stored.secret_name), stored.ciphertext)
    except (Undecryptable, SecretsNotConfigured) as error:
        message = f"the secret {stored.secret_name} cannot be decrypted on this node: {error}"
        raise StepFailed(Reason.SECRET_MISSING, message) from error
