"""The API as the commands use it: where it is, who asks, and errors as one line."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from relay_cli.errors import CommandFailed
from relay_core.settings import get_settings
from relay_stack.files.stack_state import read_state

PAGE = 100
_NOT_NOW = {502, 503, 504}


class ApiAway(CommandFailed):
    """No API answers, or it says that it cannot now."""


class Api:
    """A client of one API.

    Raises:
        CommandFailed: from every method: the API is away, or refuses.
    """

    def __init__(self, url: str, token: str, *, stack_dir: Path | None = None) -> None:
        """With ``stack_dir`` it is the API of the local stack whose data directory that is."""
        self.url = url
        self._stack_dir = stack_dir
        headers = {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(30, read=60))

    def find_again(self) -> None:
        """Where it is that of the local stack: the stack may have been started again, with other ports."""
        state = read_state(self._stack_dir) if self._stack_dir is not None else None
        if state is not None:
            self.url = state.api_url
            self.http.base_url = httpx.URL(state.api_url)
            self.http.headers["Authorization"] = f"Bearer {state.token}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON answer; None for an empty one."""
        try:
            answer = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            raise away(self.url, error) from error
        check(answer)
        return answer.json() if answer.content else None

    def raw(self, path: str, **options: Any) -> Iterator[bytes]:
        """The body of an answer, piece by piece."""
        try:
            with self.http.stream("GET", path, **options) as answer:
                if answer.is_error:
                    answer.read()
                check(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise away(self.url, error) from error

    def items(self, path: str, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """The items of a list, page by page."""
        wanted = {name: value for name, value in params.items() if value is not None}
        left = limit
        while True:
            page = self.call("GET", path, params={**wanted, "limit": min(PAGE, left or PAGE)})
            for item in page["items"]:
                yield item
                left = None if left is None else left - 1
                if left == 0:
                    return
            if not page.get("next_cursor"):
                return
            wanted["cursor"] = page["next_cursor"]

    def pages(self, path: str) -> Iterator[dict[str, Any]]:
        """The items of a list that goes on by `after`."""
        after = None
        while True:
            page = self.call("GET", path, params={} if after is None else {"after": after})
            yield from page["items"]
            after = page["next_after"]
            if after is None:
                return


def connect() -> Api:
    """The API of RELAY_API_URL and RELAY_TOKEN, else of the local stack.

    Raises:
        CommandFailed: neither is there.
    """
    url, token = os.environ.get("RELAY_API_URL"), os.environ.get("RELAY_TOKEN")
    if url and token:
        return Api(url, token)
    if url or token:
        raise CommandFailed("set both RELAY_API_URL and RELAY_TOKEN, or neither to use the local stack", 2)
    data_dir = get_settings().data_dir
    state = read_state(data_dir)
    if state is None:
        raise CommandFailed("no local stack is up; start one with `relay up`, or set RELAY_API_URL and RELAY_TOKEN")
    return Api(state.api_url, state.token, stack_dir=data_dir)


def away(url: str, error: httpx.TransportError) -> ApiAway:
    """The API does not answer."""
    return ApiAway(f"the API at {url} does not answer ({error}); is the stack up? See `relay status`")


def check(answer: httpx.Response) -> None:
    """Turn a problem+json answer into one line."""
    if not answer.is_error:
        return
    try:
        problem = answer.json()
    except ValueError:
        raise _failure(answer.status_code, f"the API answered {answer.status_code} {answer.reason_phrase}") from None
    code = problem.get("code", answer.status_code)
    message = f"{problem.get('detail') or problem.get('title')} [{code}]"
    raise _failure(answer.status_code, message, str(code))


def _failure(status: int, message: str, code: str | None = None) -> CommandFailed:
    if status in _NOT_NOW:
        return ApiAway(message, code=code)
    return CommandFailed(message, 2 if status in {400, 404, 409, 422} else 1, code)
