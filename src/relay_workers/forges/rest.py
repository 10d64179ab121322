"""Requests to a REST API: time and size are limited, no redirect is followed, and errors never have the token."""

import json
import time
from collections.abc import Mapping
from datetime import datetime
from importlib import import_module
from typing import Any

from relay_workers.forges.port import ForgeFailed

_SECONDS = 20.0
_MOST_BYTES = 4 << 20
_MOST_WAIT_SECONDS = 3600.0
_QUOTED = 300
_TOO_MANY_REQUESTS = 429
_TEXTS = {
    401: "the token is wrong or expired; store a new one: relay secret set {secret}",
    403: "the token may not do this; it needs the right to write pull requests of this repository",
    404: "there is no such repository, or the token may not see it",
}
_HIDDEN = "***"


class Rest:
    """One conversation with the API of one host.

    Args:
        api_url: address of the API.
        headers: of every request; one of them has the token.
        token: never appears in an error.
        secret: name of the secret with the token, for errors.
    """

    def __init__(self, api_url: str, headers: Mapping[str, str], token: str, secret: str) -> None:
        self._api_url = api_url
        self._headers = {**headers, "User-Agent": "relay"}
        self._token = token
        self._secret = secret

    def get(self, path: str, **query: str) -> Any:
        """Return the JSON of an answer.

        Raises:
            ForgeFailed: the host refused the request, or gave no useful answer.
        """
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Send JSON; return that of the answer.

        Raises:
            ForgeFailed: as `get`.
        """
        return self._ask("POST", path, json=dict(body))

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        client = import_module("relay_workers.forges.client")  # only few workers ever ask, and it loads much
        try:
            answer = client.ask(method, f"{self._api_url}{path}", _SECONDS, _MOST_BYTES, headers=self._headers, **more)
        except client.NO_ANSWER as error:
            why = client.why(error, _SECONDS)
            raise ForgeFailed(f"{self._api_url} gave no answer: {self._safe(why)}") from None
        if len(answer.content) > _MOST_BYTES:
            raise ForgeFailed(f"the answer of {self._api_url} has more than {_MOST_BYTES} bytes")
        return self._judged(method, path, answer)

    def _judged(self, method: str, path: str, answer: Any) -> Any:
        status = answer.status_code
        try:
            found = json.loads(answer.content)
        except ValueError:
            found = None
        if 200 <= status < 300 and found is not None:
            return found
        place = f"{method} {self._api_url}{path} answers {status}"
        if (wait := _retry_seconds(answer)) is not None or status == _TOO_MANY_REQUESTS:
            when = "later" if wait is None else f"in {wait:.0f} s"
            raise ForgeFailed(f"{place}: the host's rate limit is used up; try again {when}", wait or 60.0)
        if 300 <= status < 400:
            raise ForgeFailed(f"{place}: redirects are not followed; name the API's own address in RELAY_FORGES")
        known = _TEXTS.get(status, "").format(secret=self._secret)
        said = self._safe(_said(found))[:_QUOTED]
        raise ForgeFailed("; ".join(part for part in (f"{place}: {known or said}", said if known else "") if part))

    def _safe(self, text: str) -> str:
        return text.replace(self._token, _HIDDEN) if self._token else text


def time_of(text: str | None) -> datetime | None:
    """Return a time of an answer; None if there is none, or if it is none."""
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None


def _retry_seconds(answer: Any) -> float | None:
    """Return the seconds until the host accepts requests again, at most an hour; None: the answer is about no limit."""
    if answer.status_code not in {403, 429, 503}:
        return None
    if (after := answer.headers.get("retry-after", "")).isdecimal():
        return min(_MOST_WAIT_SECONDS, float(after))
    names = ("x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit-remaining", "ratelimit-reset")
    left, reset, left_too, reset_too = (answer.headers.get(name, "") for name in names)
    if "0" in {left, left_too} and (reset or reset_too).isdecimal():
        return min(_MOST_WAIT_SECONDS, max(1.0, float(reset or reset_too) - time.time()))
    return None


def _said(found: Any) -> str:
    """Return the host's words in an error: `message` or `error`, and those of `errors`."""
    if not isinstance(found, dict):
        return "the answer is not JSON"
    words = [found.get("message"), found.get("error"), found.get("error_description")]
    errors = found.get("errors")
    words += (
        [one.get("message") if isinstance(one, dict) else one for one in errors] if isinstance(errors, list) else []
    )
    return "; ".join(str(word) for word in words if word) or "it says nothing about why"
