"""Clones of remotes that the settings of a node do not allow; they may be others than those of the API."""

from relay_core.domain.errors import InvalidInput
from relay_core.store.projects import clones, projects
from relay_core.store.projects.projects import ProjectInput, ProjectRepoInput
from tests.support.fake_node import ME

pytest_plugins = ["tests.support.fake_node"]


def test_a_remote_that_the_node_does_not_allow_is_a_failure_with_that_reason(fake_node, monkeypatch):
    def not_allowed(_request):
        raise InvalidInput("this server clones over https, ssh, not file", code="git_scheme_not_allowed")

    url = fake_node.url
    with fake_node.database.begin() as connection:
        project_id = projects.create(connection, ProjectInput("p", repos=[ProjectRepoInput(url)]), ME)
        clone = clones.start_clone(connection, project_id, "default", ME.owner)
    monkeypatch.setattr(fake_node.git, "fetch", not_allowed)
    fake_node.workers[0].run(clone)
    row = fake_node.row(clone)
    assert (row["reason"], row["error_reason"]) == (
        "clone_failed",
        f"cannot clone {url}: this server clones over https, ssh, not file",
    )
