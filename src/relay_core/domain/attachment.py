"""Decisions about attachments: whether a node may take part in a pool, and what it may do there.

A node is attached to at most one pool at a time. The state of the attachment (the node's slot) says whether it takes
part; its liveness says whether it lives. Neither follows from the other, and a step starts only where both allow it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay_core.domain.errors import RelayError
from relay_core.domain.vocabulary import AttachmentState, NodeHealth, SelfReport

PROTOCOL = "1.1"
"""Version MAJOR.MINOR of what workers of this release and the server tell each other through Postgres.

It is not the version of Relay: it grows only with that protocol, and a pool may demand at least one of them (its
floor).
"""
PROTOCOL_PATTERN = r"^(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})$"
_CAPABILITY = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
MOST_DECLARED = 100
"""Most capabilities that a node may declare."""
_NUMBERS = ("cpus", "memory_bytes", "slots_per_worker", "disk_bytes")


class VersionMalformed(RelayError):  # noqa: N818 - the name is the statement
    """A stored version is not MAJOR.MINOR, so nothing can be compared with it and nothing is admitted."""


def protocol_version(text: str) -> tuple[int, int]:
    """Return a version as numbers, so that 1.10 is more than 1.9.

    Raises:
        VersionMalformed: the text is not MAJOR.MINOR.
    """
    found = re.fullmatch(PROTOCOL_PATTERN.strip("^$"), text)
    if found is None:
        raise VersionMalformed(f"{text!r} is not a protocol version MAJOR.MINOR: correct it with `relay nodes floor`")
    return int(found[1]), int(found[2])


def is_below(version: str, floor: str | None) -> bool:
    """Return whether a node of this protocol version is below the floor of its pool; None: there is no floor.

    Raises:
        VersionMalformed: one of them is not MAJOR.MINOR.
    """
    return floor is not None and protocol_version(version) < protocol_version(floor)


def starts_nothing(version: str, floor: str | None) -> bool:
    """Return whether a node starts nothing because of the floor of its pool.

    It is below the floor, or one of the versions cannot be read, so that nothing is admitted.
    """
    try:
        return is_below(version, floor)
    except VersionMalformed:
        return True


def self_report(health: NodeHealth) -> SelfReport:
    """Return what a node says about itself in the two words of the protocol, from its finer word."""
    return SelfReport.ONLINE if health in {NodeHealth.OK, NodeHealth.DRAINING} else SelfReport.DEGRADED


def why_invalid(capabilities: Mapping[str, Any]) -> str | None:
    """Return why a node's declaration is not valid, for people; None if it is.

    Args:
        capabilities: what the node declares: `declares`, the names that runs may need, and numbers of its resources.
            Other keys are kept and not looked at.
    """
    declares = capabilities.get("declares", [])
    if not isinstance(declares, list) or len(declares) > MOST_DECLARED:
        return f"declares has to be a list of at most {MOST_DECLARED} names"
    for name in declares:
        if not isinstance(name, str) or _CAPABILITY.fullmatch(name) is None:
            return "each name in declares has 1 to 64 lower-case letters, digits and . _ -, and first a letter or digit"
    for key in _NUMBERS:
        value = capabilities.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or value <= 0):
            return f"{key} has to be a number above 0"
    return None


@dataclass(frozen=True)
class Slot:
    """The active attachment of a node: the only one through which it takes part in a pool."""

    pool: str
    state: AttachmentState
    state_reason: str | None
    protocol_version: str
    min_protocol_version: str | None
    """The floor of the pool; None: there is none."""

    @property
    def read_only(self) -> bool:
        """Whether the node is below the floor, or a version cannot be read: it keeps what it runs, starts nothing."""
        return starts_nothing(self.protocol_version, self.min_protocol_version)


@dataclass(frozen=True)
class Shut:
    """Why a node may not start a step."""

    why: str
    """A clause for people."""
    code: str | None = None
    """The problem code where there is one."""


FLOOR_EXCEEDED = "version.floor_exceeded"


def why_shut(slot: Slot | None, *, new: bool) -> Shut | None:
    """Return why a node may not start a step because of its attachment; None if it may.

    Args:
        slot: its active attachment; None: it has none.
        new: whether the step is the first one of a workspace that is on no node yet.
    """
    if slot is None:
        return Shut("it is detached")
    if slot.state is AttachmentState.REGISTERING:
        return Shut("it is registering: its next heartbeat ends that")
    if slot.read_only:
        try:
            is_below(slot.protocol_version, slot.min_protocol_version)
        except VersionMalformed as error:
            return Shut(f"it is read-only: {error}")
        why = f"it is read-only: its protocol version {slot.protocol_version} is below {slot.min_protocol_version}, "
        return Shut(f"{why}the floor of the pool {slot.pool}", FLOOR_EXCEEDED)
    if new and slot.state is AttachmentState.DEGRADED:
        return Shut(f"it is degraded: {slot.state_reason or 'it says so itself'}")
    return None
