"""The scripts' Python environment, as far as bash decides about it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("strict", ["set -euo pipefail", "set -uo pipefail"])
def test_a_fresh_clone_gets_an_environment(tmp_path, strict):
    """`scripts/up` is strict about failed commands: that nothing is installed yet is none of them."""
    (tmp_path / "scripts").mkdir()
    for name in ("scripts/environment.sh", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    script = f'{strict}\n. "$0"\nfind_python() {{ echo looked for >&2; return 1; }}\nensure_environment'
    words = ["bash", "-c", script, str(tmp_path / "scripts" / "environment.sh")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "looked for\n")
