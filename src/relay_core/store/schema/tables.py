"""All tables, with the rules that the database enforces, too (docs/architecture.md, "Data").

Names follow the domain model. Bytes are ``bytea``; every time is ``timestamptz`` on Postgres' own clock.
"""

from relay_core.store.schema.access_tables import IdempotencyKey, PageSession, SignInCode, Token
from relay_core.store.schema.admission_tables import AdmissionTurn, RunLimit
from relay_core.store.schema.base import Base
from relay_core.store.schema.delegation_tables import ScopeDelegation, WorkspaceScope
from relay_core.store.schema.execution_tables import (
    CodingAgentTurn,
    ConversationEntry,
    ExecutionProcess,
    ExecutionProcessRepoState,
)
from relay_core.store.schema.image_tables import Image, TaskImage
from relay_core.store.schema.merge_tables import Merge
from relay_core.store.schema.mirror_tables import Mirror, NodeDirectory
from relay_core.store.schema.node_tables import (
    Incarnation,
    NodeAttachment,
    NodePool,
    PresenceSweep,
    RuntimeNode,
    SweepTurn,
)
from relay_core.store.schema.partition_tables import PartitionMark
from relay_core.store.schema.project_tables import Project, ProjectFile, ProjectRepo, ProjectSecret, Repo, Task
from relay_core.store.schema.record_tables import Event, LogChunk, LogStream, Operation
from relay_core.store.schema.run_tables import Run
from relay_core.store.schema.shared_tables import Scratch, Tag
from relay_core.store.schema.transfer_tables import ImportedEntity, Installation, MigrationState, TransferPart
from relay_core.store.schema.workspace_tables import (
    GivenSecret,
    KeptState,
    Lane,
    Session,
    Workspace,
    WorkspaceEnvironment,
    WorkspaceRepo,
    WorkspaceSecret,
)

__all__ = [
    "AdmissionTurn",
    "Base",
    "CodingAgentTurn",
    "ConversationEntry",
    "Event",
    "ExecutionProcess",
    "ExecutionProcessRepoState",
    "GivenSecret",
    "IdempotencyKey",
    "Image",
    "ImportedEntity",
    "Incarnation",
    "Installation",
    "KeptState",
    "Lane",
    "LogChunk",
    "LogStream",
    "Merge",
    "MigrationState",
    "Mirror",
    "NodeAttachment",
    "NodeDirectory",
    "NodePool",
    "Operation",
    "PageSession",
    "PartitionMark",
    "PresenceSweep",
    "Project",
    "ProjectFile",
    "ProjectRepo",
    "ProjectSecret",
    "Repo",
    "Run",
    "RunLimit",
    "RuntimeNode",
    "ScopeDelegation",
    "Scratch",
    "Session",
    "SignInCode",
    "SweepTurn",
    "Tag",
    "Task",
    "TaskImage",
    "Token",
    "TransferPart",
    "Workspace",
    "WorkspaceEnvironment",
    "WorkspaceRepo",
    "WorkspaceScope",
    "WorkspaceSecret",
]
