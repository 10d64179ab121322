"""Rules of the house that import-linter cannot check: sizes, imports inside functions, and imports between tests."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIRST_MIGRATION = "src/relay_core/store/schema/migrations/versions/0001_the_schema_of_the_whole_main_job.py"
CODE = ("src", "tests", "bench", "scripts")
MOST_LINES_OF_A_MODULE = 400
MOST_LINES_OF_A_FUNCTION = 60


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imported(tree: ast.AST) -> set[str]:
    """Dotted names of everything that a module imports; of `from a import b` both `a` and `a.b`."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def test_no_module_is_longer_than_a_reader_can_keep_in_mind():
    lengths = {name(path): len(path.read_text().splitlines()) for path in modules(*CODE)}
    del lengths[FIRST_MIGRATION]
    assert {path: lines for path, lines in lengths.items() if lines > MOST_LINES_OF_A_MODULE} == {}


def test_no_function_is_longer_than_a_screen():
    lengths = {
        f"{name(path)}:{function.name}": (function.end_lineno or 0) - function.lineno + 1
        for path in modules(*CODE)
        if name(path) != FIRST_MIGRATION
        for function in functions(parsed(path))
    }
    assert {function: lines for function, lines in lengths.items() if lines > MOST_LINES_OF_A_FUNCTION} == {}


def test_no_import_hides_inside_a_function():
    """Such an import hides a circle, or a dependency that a reader of the module's head does not see."""
    found = {
        f"{name(path)}:{node.lineno}"
        for path in modules("src", "bench", "scripts")
        for function in functions(parsed(path))
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert found == set()


def test_the_domain_imports_the_standard_library_alone():
    """But for the search for many byte strings at once, on which masking rests."""
    allowed = sys.stdlib_module_names | {"ahocorasick_rs"}
    found = {
        (name(path), module)
        for path in modules("src/relay_core/domain")
        for module in imported(parsed(path))
        if module.split(".")[0] not in allowed and not f"{module}.".startswith("relay_core.domain.")
    }
    assert found == set()


@pytest.mark.parametrize("folder", ["tests", "bench"])
def test_nothing_imports_a_test(folder):
    """What several tests need is in `tests/support`."""
    found = {
        (name(path), module)
        for path in modules(folder)
        for module in imported(parsed(path))
        if any(part.startswith("test_") or part == "conftest" for part in module.split("."))
    }
    assert found == set()


def test_the_support_of_tests_knows_no_folder_of_tests():
    found = {
        (name(path), module)
        for path in modules("tests/support")
        for module in imported(parsed(path))
        if module.startswith("tests.") and not f"{module}.".startswith("tests.support.")
    }
    assert found == set()


def test_fixtures_of_plugins_have_names_of_their_own():
    """A module named in `pytest_plugins` is a plugin of the whole session: the last one to be loaded would win."""
    found: dict[str, list[str]] = {}
    for path in sorted((ROOT / "tests" / "support").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and any("fixture" in ast.unparse(one) for one in node.decorator_list):
                found.setdefault(node.name, []).append(path.name)
    assert {name: modules for name, modules in found.items() if len(modules) > 1} == {}
