"""The page of numbered requirements agrees with the tests that carry the numbers."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]
ROOT = Path(__file__).parents[3]
SCRIPT = [sys.executable, "scripts/requirements.py"]
TESTS = """
import pytest
@pytest.mark.proves("T000-01")
def test_one(): assert True
@pytest.mark.proves("T000-02")
@pytest.mark.parametrize("n", [1, 2])
def test_two(n):
    if n == 2: pytest.skip("not here")
"""


def test_the_page_is_current():
    done = subprocess.run([*SCRIPT, "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_proof_that_was_skipped_or_did_not_run_is_told(tmp_path: Path):
    done = subprocess.run([*SCRIPT, "--ran", tmp_path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "T000-01" in done.stderr
    assert "it did not run" in done.stderr


def test_outcomes_are_written_by_number(pytester: pytest.Pytester, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    outcomes = tmp_path / "outcomes"
    outcomes.mkdir()
    monkeypatch.setenv("RELAY_TEST_PROVED_DIR", str(outcomes))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    pytester.makepyfile(TESTS)
    pytester.makeconftest(
        "import pytest\nfrom pathlib import Path\nfrom tests.support import proved\n"
        "proved.ROOT = Path(__file__).parent\n"
        "@pytest.hookimpl(wrapper=True)\n"
        "def pytest_runtest_makereport(item):\n    report = yield\n    proved.note(item, report)\n    return report\n"
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider")
    [file] = outcomes.iterdir()
    lines = [line.split(" ")[:2] for line in file.read_text().splitlines()]
    assert lines == [["passed", "T000-01"], ["passed", "T000-02"], ["skipped", "T000-02"]]
