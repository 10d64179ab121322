"""The implementation of `Forge` for each kind of host."""

from collections.abc import Mapping

from relay_core.domain.forges import ForgeKind
from relay_workers.forges.github import GitHub
from relay_workers.forges.gitlab import GitLab
from relay_workers.forges.port import Forge

FORGES: Mapping[ForgeKind, Forge] = {ForgeKind.GITHUB: GitHub(), ForgeKind.GITLAB: GitLab()}
