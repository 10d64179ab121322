"""Which values are masked in a workspace, and how many it may have."""

from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason, RunReason
from relay_core.secret_box import SecretBox, SecretName
from relay_core.store.projects.secrets import MAX_MASKED_BYTES, GivenValue, UsedSecret
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.execution.secret_values import grant, to_mask

PROJECT = uuid4()
BOX = SecretBox(["A" * 43 + "="])


def sealed(name: str, value: str) -> bytes:
    return BOX.seal(SecretName(PROJECT, name), value)


def row(now: dict[str, str], had: dict[str, str] | None = None, env: tuple[str, ...] = ()) -> WorkspaceRow:
    made: Any = SimpleNamespace(
        project_id=PROJECT,
        secrets=env,
        used_secrets=[UsedSecret(name, name, sealed(name, value)) for name, value in now.items()],
        given_secrets=[GivenValue(name, sealed(name, value)) for name, value in (had or {}).items()],
        secrets_in=frozenset({RunReason.CODING_AGENT}),
    )
    return cast("WorkspaceRow", made)


def test_a_secret_that_grew_is_not_given_out_where_it_cannot_be_masked():
    big = "x" * (MAX_MASKED_BYTES - 10)
    assert grant(BOX, row({"A": big}), RunReason.CODING_AGENT).env == {"A": big}
    grown = row({"A": big + "y" * 11})
    with pytest.raises(StepFailed, match=f"have {MAX_MASKED_BYTES + 1} bytes; at most {MAX_MASKED_BYTES}") as raised:
        grant(BOX, grown, RunReason.CODING_AGENT)
    assert raised.value.reason is Reason.START_FAILED
    assert grant(BOX, grown, RunReason.SETUP_SCRIPT).env == {}, "a step that gets none runs"
    assert to_mask(BOX, grown) == (), "and no more is searched for than the bound allows"


def test_what_executions_have_had_counts_and_is_masked_ever_after():
    half = MAX_MASKED_BYTES // 2
    had = {"A": "x" * half, "B": "y" * half}
    with pytest.raises(StepFailed, match="store shorter values, or start a new run"):
        grant(BOX, row({"C": "z" * 100}, had), RunReason.CODING_AGENT)
    values = to_mask(BOX, row({"C": "z" * 100}, {"A": "an old value"}, ("of the environment",)))
    assert {b"an old value", b"z" * 100, b"of the environment"} <= set(values)
