"""The part of the interface `Git` for acts on recorded commits: push, reset, restore, merge and replay."""

from typing import Protocol
from uuid import UUID

from relay_workers.git.act_requests import Merged, MergeRequest, Pushed, PushRequest, ResetRequest, RestoreRequest


class CommitActs(Protocol):
    """Acts on recorded commits. Thread-safe; any call may be repeated, for example after a crash."""

    def branch_at(self, request: PushRequest) -> str:
        """Return the commit to which the branch of a push points at the remote; empty if there is no such branch.

        Raises:
            InvalidInput: as `push`.
            StepFailed: as `push`, but never ``push_rejected``.
        """

    def push(self, request: PushRequest) -> Pushed:
        """Push a commit to a branch of the remote, with the credentials of the node.

        Pushing the same again changes nothing.

        Raises:
            InvalidInput: the URL is not allowed (any more), or the branch is no valid name.
            StepFailed: reason ``push_rejected``: the remote has other commits in the branch than those that may be
                replaced, or refused it.
                ``push_failed``: the remote cannot be reached or written, or a secret is in the commits. ``timeout``;
                ``user`` if the request was cancelled.
        """

    def resolve(self, request: ResetRequest) -> str:
        """Return the full id of the commit of a reset, and change nothing.

        Raises:
            StepFailed: reason ``reset_failed``: the clone has no such commit, or is no clone any more. Also
                ``engine_error``, ``image_unavailable``, ``clone_timeout`` or ``oom``.
        """

    def reset(self, request: ResetRequest) -> str:
        """Reset a clone, and return the full id of the commit. Uncommitted changes are lost; ignored files stay.

        A reset that was interrupted is completed by the same request. HEAD is moved first: if it is at the commit, the
        rest may still be missing.

        Raises:
            StepFailed: as `resolve`; ``reset_failed`` also if another git command is running in the clone.
        """

    def restore(self, request: RestoreRequest) -> str:
        """Bring a new clone to a recorded commit, from a bundle, which is not trusted; return the commit.

        Raises:
            StepFailed: reason ``clone_failed``: the bundle is damaged or too large, or neither it nor the remote has
                the commit. Also as `reset`.
        """

    def merge(self, request: MergeRequest) -> Merged:
        """Merge the source into the target as a new commit of the store. No clone, branch or remote changes.

        Raises:
            StepFailed: reason ``merge_failed``: a commit is missing, or the sides have no common ancestor. Also
                ``engine_error``, ``image_unavailable``, ``clone_timeout``, ``oom``, ``internal_error``; ``user`` if the
                request was cancelled.
        """

    def replay(self, request: MergeRequest) -> Merged:
        """Replay the commits of the source after the base on top of the target, as new commits of the store.

        Authors, their dates and messages stay. Merge commits, and commits that would be empty, are left out.

        Raises:
            StepFailed: as `merge`, with the reason ``rebase_failed``.
        """

    def contains(self, workspace_id: UUID, name: str, commit: str, wanted: str) -> bool:
        """Return whether ``wanted`` is a commit, or an ancestor of it; both are looked up in the store of a clone.

        False if one of them is missing.

        Raises:
            StepFailed: reason ``internal_error``: git took too long.
        """
