"""Directories of nodes that look like those of workspaces and are not used."""

from enum import StrEnum


class DirectoryFinding(StrEnum):
    """Why a directory of a node is not used."""

    UNREGISTERED = "unregistered"
    """It was a workspace's, and no workspace claims it."""
    DUPLICATE = "duplicate"
    """It is one of several directories of one workspace, of which Relay cannot tell the right one."""
