"""Cells of tables."""

import pytest

from relay_cli.output import plain


@pytest.mark.parametrize(
    ("value", "cell"), [(None, "-"), (0, "0"), ("a\x1b[2Jb", "ab"), (["x"], "['x']"), ("a\nb", "a b")]
)
def test_cells(value, cell):
    assert plain(value) == cell
