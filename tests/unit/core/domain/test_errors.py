"""The tree of errors in domain/errors.py is that of the code: names, branches and modules."""

import ast
import re
from pathlib import Path

from relay_core.domain import errors

SOURCE = Path(__file__).parents[4] / "src"
LINE = re.compile(r"^(?P<indent> *)(?P<name>[A-Z]\w+) {2,}.*?(?:\((?P<module>[a-z0-9_.]+)\))?$", re.MULTILINE)


def drawn() -> dict[str, tuple[str | None, str | None]]:
    """Parent and module of each error in the docstring."""
    tree, branch = {}, []
    for line in LINE.finditer(errors.__doc__.split("Not below it")[0]):
        branch = [*branch[: len(line["indent"]) // 2], line["name"]]
        tree[line["name"]] = (branch[-2] if len(branch) > 1 else None, line["module"])
    return tree


def written() -> dict[str, tuple[str | None, str]]:
    """Parent and module of each class below `RelayError`."""
    classes = {
        node.name: ([base.id for base in node.bases if isinstance(base, ast.Name)], path)
        for path in SOURCE.rglob("*.py")
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.ClassDef) and node.bases
    }
    tree: dict[str, tuple[str | None, str]] = {"RelayError": (None, "relay_core.domain.errors")}
    while more := {name: found for name, found in classes.items() if name not in tree and set(found[0]) & tree.keys()}:
        for name, (bases, path) in more.items():
            parent = next(base for base in bases if base in tree)
            tree[name] = (parent, ".".join(path.relative_to(SOURCE).with_suffix("").parts))
    return tree


def test_the_tree_shows_every_error_on_its_branch():
    seen, code = drawn(), written()
    assert {name: parent for name, (parent, _) in seen.items()} == {name: parent for name, (parent, _) in code.items()}


def test_the_tree_names_the_module_of_each_error_that_is_elsewhere():
    code = written()
    wrong = {
        name: (module, code[name][1])
        for name, (_, module) in drawn().items()
        if not code[name][1].endswith("." + (module or "domain.errors")) and code[name][1] != module
    }
    assert wrong == {}
