"""T004-06: there is one way to a workspace on which something can run, and it reconciles first."""

import ast
import inspect
from pathlib import Path

import pytest

import relay_workers
from relay_workers.execution.workspace import Workspaces


@pytest.mark.proves("T004-06")
def test_only_workspaces_make_a_handle():
    makers = []
    for path in Path(relay_workers.__file__).parent.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                calls = [call for call in ast.walk(function) if isinstance(call, ast.Call)]
                names = [call.func.id for call in calls if isinstance(call.func, ast.Name)]
                makers += [f"{path.name}:{function.name}" for name in names if name == "WorkspaceHandle"]
    assert set(makers) == {"workspace.py:attend"}
    source = inspect.getsource(Workspaces.attend)
    assert 0 < source.index("self._reconcile_delegations(row)") < source.index("return WorkspaceHandle(")


def test_every_start_of_a_process_takes_a_handle():
    """`Containers.start` is called in one place, which is given the handle; the check of a node has no workspace."""
    places = []
    for path in Path(relay_workers.__file__).parent.rglob("*.py"):
        source = path.read_text()
        places += [path.name] * source.count("containers.start(")
    assert sorted(places) == ["self_check.py", "step_starter.py"]
