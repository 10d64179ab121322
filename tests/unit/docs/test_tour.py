"""The tour of an execution names functions: each is there, and the page stays short."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "tour.md"
LINKS = re.findall(r"\]\(\.\./((?:src|tests)/[\w./-]+)(?:#([\w.]+))?\)", PAGE.read_text())
MOST_LINES = 60


def defined(tree: ast.Module | ast.ClassDef, prefix: str = "") -> set[str]:
    """Dotted names of the classes, functions and methods of a module."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found |= defined(node, f"{prefix}{node.name}.")
    return found


@pytest.mark.parametrize(("path", "name"), LINKS)
def test_each_named_function_is_there(path: str, name: str):
    file = ROOT / path
    assert file.exists()
    if name:
        assert name in defined(ast.parse(file.read_text()))


def test_the_tour_has_ten_steps_with_functions_and_fits_on_a_screen_and_a_half():
    text = PAGE.read_text()
    assert re.findall(r"^(\d+)\. ", text, re.MULTILINE) == [str(number) for number in range(1, 11)]
    assert len(text.splitlines()) <= MOST_LINES
    assert sum(bool(name) for _, name in LINKS) >= 20
