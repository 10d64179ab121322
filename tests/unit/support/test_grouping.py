"""Each module that is named in a group exists, and is named once."""

from pathlib import Path

from tests.support.grouping import TOGETHER, group_of, order_of

TESTS = Path(__file__).parents[2]


def test_every_module_of_a_group_exists_and_is_in_one_group():
    named = [module for modules in TOGETHER.values() for module in modules]
    assert [module for module in named if not (TESTS / module).exists()] == []
    assert len(named) == len(set(named))


def test_modules_with_a_relay_are_grouped():
    folders = (TESTS / "faults", TESTS / "acceptance")
    modules = [path.relative_to(TESTS) for folder in folders for path in folder.rglob("test_*.py")]
    assert [module for module in modules if group_of(module) not in TOGETHER] == []


def test_a_module_outside_the_groups_is_a_group_and_comes_later():
    module = Path("integration/api/test_api_runs.py")
    assert group_of(module) == str(module)
    assert order_of(Path("faults/test_chaos.py")) < order_of(module) < order_of(Path("unit/core/test_retry.py"))
