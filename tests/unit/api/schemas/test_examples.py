"""The examples of the OpenAPI document are right by their schemas."""

from typing import Any, get_args

import pytest
from pydantic import BaseModel

from relay_api.page import sign_in
from relay_api.schemas import (
    admin,
    agents,
    common,
    conversations,
    delegations,
    directories,
    executions,
    expiry,
    git_acts,
    git_states,
    images,
    merges,
    migrations,
    mirrors,
    nodes,
    previews,
    profiles,
    quarantine,
    repos,
    run_limits,
    run_resource,
    runs,
    scratch,
    secrets,
    stored_files,
    tags,
    tasks,
    workspaces,
)
from relay_api.schemas.examples import EXAMPLES

MODULES = (
    admin,
    agents,
    common,
    conversations,
    delegations,
    directories,
    executions,
    expiry,
    git_acts,
    images,
    merges,
    migrations,
    git_states,
    mirrors,
    previews,
    profiles,
    quarantine,
    repos,
    nodes,
    run_limits,
    run_resource,
    runs,
    scratch,
    secrets,
    stored_files,
    tasks,
    tags,
    workspaces,
    sign_in,
)


@pytest.mark.parametrize(("name", "example"), EXAMPLES.items())
def test_an_example_is_right_by_its_schema(name: str, example: dict[str, Any]):
    [model] = {vars(module)[name] for module in MODULES if name in vars(module)}
    assert issubclass(model, BaseModel)
    made = model.model_validate(example)
    if not issubclass(model, common.Input) and name != "Problem":
        assert made.model_dump(mode="json") == example, "an answer has all of its fields"


def test_every_body_has_an_example():
    bodies = {
        name
        for module in MODULES
        for name, each in vars(module).items()
        if isinstance(each, type) and issubclass(each, common.Input) and each.__module__ == module.__name__
    }
    parts = {"Input", "RepoIn", "ExecutorIn", "EnvIn", "LimitsIn", "ProjectRepoIn", "DraftExecutor", "DraftRepo"}
    parts |= {"RepoDefaultsIn", "HealthChange", "RepoUseIn", "JobIn", "AttemptRepoIn"}
    parts |= {each.__name__ for each in get_args(get_args(scratch.Payload)[0])}
    parts |= {"ScopeRuleIn", "FirstWorkspaceIn", "IdleHoursIn"}
    parts |= {"MovedProjectIn", "MovedRepoIn", "MovedTaskIn", "MovedWorkspaceIn", "MovedMergeIn"}
    assert bodies - parts <= EXAMPLES.keys()
