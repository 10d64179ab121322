"""docs/job-file.md shows a file that is valid and has every key."""

import re
import tomllib
from pathlib import Path

from relay_core.domain.job_file import EXECUTOR_FIELDS, KEYS, parse

PAGE = (Path(__file__).parents[3] / "docs/job-file.md").read_text()


def test_the_example_is_valid_and_has_every_key():
    [example] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    parse(example.encode(), "relay.toml")
    given = tomllib.loads(example)
    assert set(given) == set(KEYS)
    assert set(given["executor"]) == set(EXECUTOR_FIELDS)


def test_the_table_names_every_key():
    cells = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`\[?(\w+)\]?`", " ".join(cells))) == set(KEYS)
