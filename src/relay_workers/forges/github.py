"""Pull requests of GitHub, GitHub Enterprise, and hosts that are compatible with them."""

from typing import Any
from urllib.parse import quote

from relay_core.domain.forges import ForgePlace
from relay_workers.forges.port import Draft, ForgeFailed, PullRequest
from relay_workers.forges.rest import Rest, time_of


class GitHub:
    """Implements `Forge` for the REST API of GitHub."""

    def open(self, place: ForgePlace, draft: Draft, token: str) -> PullRequest:
        """Open a pull request, or return the open one for the same branches; see `Forge.open`."""
        rest = _rest(place, token)
        if found := self._opened(rest, place, draft):
            return found
        body = {
            "title": draft.title,
            "body": draft.body,
            "head": draft.source_branch,
            "base": draft.target_branch,
        }
        try:
            return _parsed(rest.post(_path(place), body))
        except ForgeFailed:
            if found := self._opened(rest, place, draft):  # another worker has just opened it
                return found
            raise

    def get(self, place: ForgePlace, number: int, token: str) -> PullRequest:
        """Return a pull request; see `Forge.get`."""
        return _parsed(_rest(place, token).get(f"{_path(place)}/{number}"))

    def _opened(self, rest: Rest, place: ForgePlace, draft: Draft) -> PullRequest | None:
        head = f"{place.owner}:{draft.source_branch}"
        found = rest.get(_path(place), state="open", head=head, base=draft.target_branch, per_page="100")
        mine = (each for each in found if _is_of(each, place, draft)) if isinstance(found, list) else iter(())
        return next(map(_parsed, mine), None)


def _path(place: ForgePlace) -> str:
    return f"/repos/{quote(place.path)}/pulls"


def _is_of(found: Any, place: ForgePlace, draft: Draft) -> bool:
    """Return whether an answer is the pull request of a draft: a host may not know the conditions of the question."""
    try:
        head, base = found["head"], found["base"]
        name = head.get("repo", {"full_name": place.path})["full_name"]
        of_here = str(name).lower() == place.path.lower()
        return bool(of_here and (head["ref"], base["ref"]) == (draft.source_branch, draft.target_branch))
    except (AttributeError, KeyError, TypeError):  # also of a fork that was deleted: its repository is null
        return False


def _rest(place: ForgePlace, token: str) -> Rest:
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    return Rest(place.api_url, headers, token, place.kind.token_secret)


def _parsed(found: Any) -> PullRequest:
    try:
        merged = bool(found.get("merged") or found.get("merged_at"))
        status = "merged" if merged else "open" if found["state"] == "open" else "closed"
        number, url = int(found["number"]), str(found["html_url"])
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ForgeFailed(f"the answer is no pull request of GitHub: {type(error).__name__}: {error}") from error
    # Of an open pull request, GitHub names the commit of a trial merge here.
    commit = found.get("merge_commit_sha") if merged else None
    return PullRequest(number, url, status, time_of(found.get("merged_at")), commit)
