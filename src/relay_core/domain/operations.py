"""The kinds of operations beside executions, and what they are about: the closed sets of words that the API shows."""

from enum import StrEnum

from relay_core.domain.vocabulary import OperationClass


class OperationKind(StrEnum):
    """The kind of an operation: an act with an outcome that is no execution."""

    WORKSPACE_CREATE = "workspace.create"
    WORKSPACE_STOP = "workspace.stop"
    WORKSPACE_RESUME = "workspace.resume"
    WORKSPACE_DELETE = "workspace.delete"
    WORKSPACE_RESTORE = "workspace.restore"
    """A deleted workspace comes back, with its files."""
    WORKSPACE_PURGE = "workspace.purge"
    """The kept files of a deleted workspace are removed for good."""
    WORKSPACE_ACKNOWLEDGE = "workspace.acknowledge"
    """A person accepts clones that are not as they were recorded."""
    PROJECT_CREATE = "project.create"
    PROJECT_CLONE = "project.clone"
    """From the request to clone a project to the end of the last execution that does it."""
    PROJECT_DELETE = "project.delete"
    PROJECT_RESTORE = "project.restore"
    """A deleted project comes back, with the workspaces that can be restored."""
    NODE_ATTACH = "node.attach"
    NODE_DRAIN = "node.drain"
    NODE_UNDRAIN = "node.undrain"
    NODE_REVOKE = "node.revoke"
    NODE_RESTORE = "node.restore"
    NODE_DETACH = "node.detach"
    NODE_CAPABILITIES = "node.capabilities"
    POOL_FLOOR = "pool.floor"
    """A change of the lowest protocol version of nodes that may start steps of a pool."""
    DIRECTORY = "directory"
    """A directory of a node that is no workspace's, or one of several of a workspace, until that has ended."""
    WORKSPACE_ADOPT = "workspace.adopt"
    """An operator makes a directory that is no workspace's one again."""
    ORPHAN = "orphan"
    """A container of a node that no workspace needs, from its discovery to its removal."""
    CREDENTIAL_CHANGE = "credential.change"

    @property
    def operation_class(self) -> OperationClass:
        """The part of Relay that operations of this kind may change."""
        return OperationClass.WORKSPACE if self in _OF_FILES else OperationClass.REGISTRY


_OF_FILES = frozenset(
    {
        OperationKind.WORKSPACE_DELETE,
        OperationKind.WORKSPACE_RESTORE,
        OperationKind.WORKSPACE_PURGE,
        OperationKind.PROJECT_DELETE,
        OperationKind.PROJECT_RESTORE,
    }
)


class SubjectKind(StrEnum):
    """The kind of thing that an event is about."""

    WORKSPACE = "workspace"
    PROJECT = "project"
    NODE = "node"
    POOL = "pool"
    CONTAINER = "container"
    """A container that belongs to none of Relay's rows; the subject's id is the engine's id of it."""
    DIRECTORY = "directory"
    """A directory of a node; the subject's id is the node's id, a slash and the name of the directory."""
    TOKEN = "token"  # noqa: S105 - a word, no token
    SECRET = "secret"  # noqa: S105 - a word, no secret
    """A secret of a project; the subject's id is the project's id, a slash and the name of the secret."""
