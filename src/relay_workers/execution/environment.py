"""Environment variables of containers and of steps."""

from collections.abc import Mapping
from uuid import UUID

from relay_core.settings import Settings
from relay_core.store.workspaces.workspace_row import WorkspaceRow
from relay_workers.containers.port import CA_BUNDLE

HOME = "/workspace/home"

_LIVE_LOGS = {"PYTHONUNBUFFERED": "1", "CI": "1", "TERM": "dumb"}
_CA_NAMES = (
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
)
_TRUST_CLONES = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
"""Lets git work in clones that belong to another user id, as in setup scripts that run as root."""


def container_environment(settings: Settings, own: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that every process of a container gets: unbuffered output, passed-on variables, CA bundle.

    Args:
        settings: names of the variables to pass on from the worker (such as those of proxies), and the CA bundle.
        own: the environment of this worker.
    """
    env = dict(_LIVE_LOGS)
    env.update({name: own[name] for name in settings.container_env_passthrough if name in own})
    if settings.ca_bundle is not None:
        env.update(dict.fromkeys(_CA_NAMES, CA_BUNDLE))
    return env


def step_environment(settings: Settings, workspace: WorkspaceRow, execution_id: UUID) -> dict[str, str]:
    """Return the variables that one step gets in addition to its container's.

    The client's own variables win over Relay's.
    """
    env = {
        "HOME": HOME,
        "XDG_CACHE_HOME": "/workspace/cache",
        "RELAY_PROJECT_ID": str(workspace.project_id),
        "RELAY_TASK_ID": str(workspace.task_id),
        "RELAY_WORKSPACE_ID": str(workspace.id),
        "RELAY_EXECUTION_ID": str(execution_id),
        "RELAY_BRANCH": workspace.branch,
        **_TRUST_CLONES,
    }
    for role in ("AUTHOR", "COMMITTER"):
        env[f"GIT_{role}_NAME"] = settings.git_author_name
        env[f"GIT_{role}_EMAIL"] = settings.git_author_email
    return {**env, **workspace.env}
