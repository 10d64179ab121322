"""Merge requests of GitLab."""

from typing import Any
from urllib.parse import quote

from relay_core.domain.forges import ForgePlace
from relay_workers.forges.port import Draft, ForgeFailed, PullRequest
from relay_workers.forges.rest import Rest, time_of

_STATUS = {"opened": "open", "locked": "open", "merged": "merged", "closed": "closed"}


class GitLab:
    """Implements `Forge` for the REST API of GitLab."""

    def open(self, place: ForgePlace, draft: Draft, token: str) -> PullRequest:
        """Open a merge request, or return the open one for the same branches; see `Forge.open`."""
        rest = _rest(place, token)
        if found := self._opened(rest, place, draft):
            return found
        body = {
            "title": draft.title,
            "description": draft.body,
            "source_branch": draft.source_branch,
            "target_branch": draft.target_branch,
        }
        try:
            return _parsed(rest.post(_path(place), body))
        except ForgeFailed:
            if found := self._opened(rest, place, draft):  # another worker has just opened it
                return found
            raise

    def get(self, place: ForgePlace, number: int, token: str) -> PullRequest:
        """Return a merge request; see `Forge.get`."""
        return _parsed(_rest(place, token).get(f"{_path(place)}/{number}"))

    def _opened(self, rest: Rest, place: ForgePlace, draft: Draft) -> PullRequest | None:
        branches = {"source_branch": draft.source_branch, "target_branch": draft.target_branch}
        found = rest.get(_path(place), state="opened", **branches)
        mine = (each for each in found if _is_of(each, draft)) if isinstance(found, list) else iter(())
        return next(map(_parsed, mine), None)


def _is_of(found: Any, draft: Draft) -> bool:
    """Return whether an answer is the merge request of a draft; one of a fork may have a branch of the same name."""
    try:
        of_here = found.get("source_project_id") == found.get("target_project_id")
        branches = (found["source_branch"], found["target_branch"])
    except (AttributeError, KeyError, TypeError):
        return False
    return of_here and branches == (draft.source_branch, draft.target_branch)


def _path(place: ForgePlace) -> str:
    return f"/projects/{quote(place.path, safe='')}/merge_requests"


def _rest(place: ForgePlace, token: str) -> Rest:
    return Rest(place.api_url, {"PRIVATE-TOKEN": token}, token, place.kind.token_secret)


def _parsed(found: Any) -> PullRequest:
    try:
        number, url, status = int(found["iid"]), str(found["web_url"]), _STATUS[found["state"]]
    except (KeyError, TypeError, ValueError) as error:
        raise ForgeFailed(f"the answer is no merge request of GitLab: {type(error).__name__}: {error}") from error
    if status != "merged":
        return PullRequest(number, url, status)
    commit = found.get("merge_commit_sha") or found.get("squash_commit_sha") or found.get("sha")
    return PullRequest(number, url, status, time_of(found.get("merged_at")), commit)
