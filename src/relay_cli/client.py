"""Client of the API for the commands: find the API, send the token, and turn the API's errors into one-line errors."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from relay_cli.errors import CommandFailed
from relay_cli.flags import problem_text
from relay_core.data_dir import own_data_dir
from relay_stack.files.stack_state import read_state

ERRNO = re.compile(r"\[Errno -?\d+\] ")
"""The number of a system error in a message, which says nothing that the words behind it do not say."""
PAGE = 100
"""Items that one request for a page of a list asks for."""
_UNAVAILABLE_STATUSES = {502, 503, 504}
_REQUEST_HAS_TO_CHANGE = {400, 404, 409, 422}


class ApiUnavailable(CommandFailed):
    """Raised when the API does not answer, or answers that it is unavailable for now (502, 503, 504)."""


class Api:
    """Client of one API.

    Args:
        url: base URL of the API.
        token: bearer token of all requests.
        stack_dir: data directory of the local stack that the API belongs to. None if the API is a remote server.

    Raises:
        CommandFailed: raised by every method that sends a request: the API refuses the request.
        ApiUnavailable: raised by these methods, too: the API does not answer or is unavailable for now.
    """

    def __init__(self, url: str, token: str, *, stack_dir: Path | None = None) -> None:
        self.url = url
        self.stack_dir = stack_dir
        headers = {"Authorization": f"Bearer {token}"}
        # Reading the certificate authorities takes 20 ms, which a local API needs at no time.
        secure = url.startswith("https:")
        self.http = httpx.Client(base_url=url, headers=headers, timeout=httpx.Timeout(30, read=60), verify=secure)

    def find_again(self) -> None:
        """Read the URL and token of the local stack again, because it may have been restarted with other ports.

        For a remote server this does nothing.
        """
        state = read_state(self.stack_dir) if self.stack_dir is not None else None
        if state is not None:
            self.url = state.api_url
            self.http.base_url = httpx.URL(state.api_url)
            self.http.headers["Authorization"] = f"Bearer {state.token}"

    def call(self, method: str, path: str, **options: Any) -> Any:
        """Send a request and return the JSON of the answer; None if the answer has no body."""
        try:
            answer = self.http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._no_answer(error) from error
        check(answer)
        return answer.json() if answer.content else None

    def find(self, path: str) -> dict[str, Any] | None:
        """Return the object at a path of the API; None if there is none (404)."""
        try:
            found: dict[str, Any] = self.call("GET", path)
        except CommandFailed as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise
        return found

    def body(self, path: str, **options: Any) -> Iterator[bytes]:
        """Send a GET request and yield the body of the answer in pieces, as they arrive."""
        try:
            with self.http.stream("GET", path, **options) as answer:
                if answer.is_error:
                    answer.read()
                check(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise self._no_answer(error) from error

    def items(self, path: str, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of a list that the API pages by `cursor`.

        Args:
            path: path of the list.
            limit: most items to yield; None for all.
            params: query parameters; those that are None are not sent.
        """
        query = {name: value for name, value in params.items() if value is not None}
        left = limit
        while True:
            page = self.call("GET", path, params={**query, "limit": min(PAGE, left or PAGE)})
            for item in page["items"]:
                yield item
                left = None if left is None else left - 1
                if left == 0:
                    return
            if not page.get("next_cursor"):
                return
            query["cursor"] = page["next_cursor"]

    def all_items(self, path: str) -> list[dict[str, Any]]:
        """Return the items of a list that the API does not page."""
        found: list[dict[str, Any]] = self.call("GET", path)["items"]
        return found

    def items_by_position(self, path: str) -> Iterator[dict[str, Any]]:
        """Yield all items of a list that the API pages by `after` (the position of the last item)."""
        after = None
        while True:
            page = self.call("GET", path, params={} if after is None else {"after": after})
            yield from page["items"]
            after = page["next_after"]
            if after is None:
                return

    def _no_answer(self, error: httpx.TransportError) -> ApiUnavailable:
        advice = "check RELAY_API_URL" if self.stack_dir is None else "is the stack up? See `relay status`"
        return ApiUnavailable(f"the API at {self.url} does not answer ({ERRNO.sub('', str(error))}); {advice}")


def connect() -> Api:
    """Return a client of the API that RELAY_API_URL and RELAY_TOKEN name, or of the local stack if neither is set.

    Raises:
        CommandFailed: only one of the two variables is set, the URL has no scheme, or no local stack is up.
    """
    url, token = os.environ.get("RELAY_API_URL"), os.environ.get("RELAY_TOKEN")
    if url and token:
        if not url.startswith(("http://", "https://")):
            raise CommandFailed(f"RELAY_API_URL must begin with http:// or https://; it is {url!r}", 2)
        return Api(url, token)
    if url or token:
        raise CommandFailed("set both RELAY_API_URL and RELAY_TOKEN, or neither to use the local stack", 2)
    data_dir = own_data_dir()
    state = read_state(data_dir)
    if state is None:
        raise CommandFailed("no local stack is up; start one with `relay up`, or set RELAY_API_URL and RELAY_TOKEN")
    return Api(state.api_url, state.token, stack_dir=data_dir)


def check(answer: httpx.Response) -> None:
    """Raise an error unless the API's answer is a success.

    Raises:
        CommandFailed: the answer is an error. The message contains detail and code of its problem+json.
        ApiUnavailable: the status means that the API is unavailable for now (502, 503, 504).
    """
    if not answer.is_error:
        return
    try:
        problem = answer.json()
    except ValueError:
        raise _failure(answer.status_code, f"the API answered {answer.status_code} {answer.reason_phrase}") from None
    code = problem.get("code", answer.status_code)
    detail = problem_text(problem.get("detail") or problem.get("title") or "", problem.get("errors") or [])
    message = f"{detail} [{code}]"
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        message += "; check RELAY_TOKEN"
    raise _failure(answer.status_code, message, str(code))


def _failure(status: int, message: str, code: str | None = None) -> CommandFailed:
    if status in _UNAVAILABLE_STATUSES:
        return ApiUnavailable(message, code=code, status=status)
    return CommandFailed(message, 2 if status in _REQUEST_HAS_TO_CHANGE else 1, code=code, status=status)
