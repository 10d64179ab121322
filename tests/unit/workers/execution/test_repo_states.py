"""The columns of a recorded git state, with the diff of the run."""

import pytest
import zstandard

from relay_core.domain.logs.masking import SecretMask
from relay_workers.execution.repo_states import after_state_columns
from relay_workers.git.port import AfterState, Patch

BASE = "1" * 40


def patch(text: str, files: int) -> Patch:
    return Patch(text.encode(), truncated=False, files=files, insertions=1, deletions=0)


@pytest.mark.parametrize(
    ("run_base", "step_patch", "run_patch", "files"),
    [
        (None, patch("step", 1), None, None),
        (BASE, patch("step", 1), None, 1),
        (BASE, patch("step", 1), patch("run", 2), 2),
        (BASE, None, patch("run", 2), 2),
    ],
)
def test_the_counts_of_a_run_are_those_of_its_own_diff(run_base, step_patch, run_patch, files):
    state = AfterState(
        BASE, patch=patch("whole", 3), step_patch=step_patch, run_base=run_base, run_patch=run_patch, pinned_commit=BASE
    )
    columns = after_state_columns(state, SecretMask())
    counts = columns["stat"].get("run")
    assert (counts and (counts["base"], counts["files"])) == (files and (BASE, files))
    assert columns["stat"]["files"] == 3
    stored = columns["run_patch"]
    assert (stored and zstandard.decompress(stored)) == (run_patch and run_patch.text)
