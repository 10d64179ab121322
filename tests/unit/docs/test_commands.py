"""Every block of commands of README and docs runs in a test (acceptance/test_docs.py), or says why not."""

from pathlib import Path

import pytest

from tests.support.docs_commands import PAGES, Block, blocks_of, script_of


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_block_that_no_test_runs_says_why(page: Path):
    reasons = [block.not_run for block in blocks_of(page) if block.not_run is not None]
    assert all(len(reason.split()) > 3 for reason in reasons), reasons


def test_blocks_and_reasons_are_found(tmp_path: Path):
    page = tmp_path / "page.md"
    page.write_text(
        "```sh\na\n```\n\n<!-- not run: it takes an hour -->\n```sh\nb\n```\n```toml\nc\n```\n```sh\nd\n```\n"
    )
    assert blocks_of(page) == [Block("a\n", None), Block("b\n", "it takes an hour"), Block("d\n", None)]
    assert script_of(page) == "a\n\nd\n"
