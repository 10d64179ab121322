"""Keep docs/requirements.md true: the test that proves each numbered requirement.

`python scripts/requirements.py` writes the column of proofs from the markers `@pytest.mark.proves("T000-01")` of the
tests. `--check` only compares. `--ran DIRECTORY` compares the page with the outcomes that a run of all tests wrote
there (`tests/support/proved.py`). The exit code is 1 if something differs; the message says what.
"""

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "requirements.md"
ROW = re.compile(r"^\| (T\d{3}-\d{2}) \| (.*?) \| (.*) \|$", re.MULTILINE)
OPEN = "open"
"""The proof of a requirement that no test proves yet."""
QUOTE_CHARS = 110


@dataclass(frozen=True)
class Proof:
    """A test that carries the id of a requirement."""

    path: str
    """Path of its file below the root of the repository."""
    name: str
    asserting: str
    """The last assertion of the test, on one line."""

    def __str__(self) -> str:
        quoted = self.asserting.replace("|", "\\|")
        return f"[{self.name}](../{self.path}): `{quoted}`"


def proofs(tests: Path) -> dict[str, list[Proof]]:
    """Return the tests that carry each id, in the order of their files."""
    found: dict[str, list[Proof]] = defaultdict(list)
    for path in sorted(tests.rglob("test_*.py")):
        source = path.read_text()
        if "mark.proves(" not in source:
            continue
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                for id_ in _ids(node):
                    name = str(path.relative_to(ROOT))
                    found[id_].append(Proof(name, node.name, _asserting(node, source)))
    return found


def written(page: str, found: dict[str, list[Proof]]) -> str:
    """Return the page with the present proofs."""

    def row(match: re.Match[str]) -> str:
        told = "<br>".join(str(proof) for proof in found.get(match[1], ())) or OPEN
        return f"| {match[1]} | {match[2]} | {told} |"

    return ROW.sub(row, page)


def unproven(found: dict[str, list[Proof]], outcomes: Path) -> list[str]:
    """Return the proofs that did not pass in a run of all tests, or were skipped in it."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for file in outcomes.iterdir():
        for line in file.read_text().splitlines():
            outcome, id_, test = line.split(" ", 2)
            seen[id_, test].add(outcome)
    return [
        f"{id_}: {proof.path}::{proof.name}: {', '.join(sorted(outcome)) or 'it did not run'}"
        for id_, of_id in sorted(found.items())
        for proof in of_id
        if (outcome := seen[id_, f"{proof.path}::{proof.name}"]) != {"passed"}
    ]


def _ids(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.proves":
            yield from (str(argument.value) for argument in decorator.args if isinstance(argument, ast.Constant))


def _asserting(function: ast.FunctionDef, source: str) -> str:
    """Return the last assertion of a test, or its last statement if it calls a function that asserts."""
    asserts = [node for node in ast.walk(function) if isinstance(node, ast.Assert)]
    last = max(asserts, key=lambda node: node.lineno) if asserts else function.body[-1]
    told = " ".join((ast.get_source_segment(source, last) or "").split())
    return told if len(told) <= QUOTE_CHARS else f"{told[: QUOTE_CHARS - 1]}…"


def main() -> int:
    """Write or compare the page; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if the page is not current")
    parser.add_argument("--ran", type=Path, metavar="DIRECTORY", help="outcomes of a run of all tests")
    options = parser.parse_args()
    found = proofs(ROOT / "tests")
    if options.ran:
        problems = unproven(found, options.ran)
        print("\n".join(problems), file=sys.stderr, end="\n" if problems else "")
        return 1 if problems else 0
    page = PAGE.read_text()
    current = written(page, found)
    unknown = set(found) - {match[1] for match in ROW.finditer(page)}
    if unknown:
        print(f"{PAGE.name} has no requirement {', '.join(sorted(unknown))}", file=sys.stderr)
    elif options.check and page != current:
        print(f"{PAGE.name} is not current: run python scripts/requirements.py", file=sys.stderr)
    elif not options.check:
        PAGE.write_text(current)
        return 0
    return 1 if unknown or page != current else 0


if __name__ == "__main__":
    sys.exit(main())
