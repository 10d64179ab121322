"""The kept inputs of the fuzzer, through the parser as the sanitizers build it."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[5]
CORPUS = ROOT / "tests" / "fuzz" / "pid1" / "corpus"


def fuzz(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RELAY_FUZZ_SECONDS": "0.1", "TMPDIR": str(tmp_path)}
    environment.pop("CC", None)
    words = [ROOT / "scripts" / "pid1-fuzz", *flags]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


def test_the_parser_withstands_all_kept_inputs_and_some_changed_ones(tmp_path):
    done = fuzz(tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    files, runs, inputs, edges = map(int, re.findall(r"\d+", done.stdout))
    assert files == len(list(CORPUS.iterdir()))
    assert runs > 0
    assert inputs > 10
    assert edges > 50, "the kept inputs reach the code behind the header"
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_one_byte_is_noticed_and_its_input_kept(tmp_path):
    done = fuzz(tmp_path, "-DPLANTED_FAULT")
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    (culprit,) = tmp_path.glob("relay-fuzz-culprit-*")
    assert culprit.read_bytes() in {path.read_bytes() for path in CORPUS.iterdir()}
