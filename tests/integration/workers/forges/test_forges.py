"""Both shapes of hosts over real HTTP: what they answer, what they refuse, and that no token appears anywhere."""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from socket import create_server, socket

import pytest

from relay_core.domain.forges import ForgeKind, ForgePlace
from relay_workers.forges import rest
from relay_workers.forges.port import Draft, Forge, ForgeFailed
from relay_workers.forges.registry import FORGES
from tests.support.forge_server import TOKEN, ForgeServer, forge_server

DRAFT = Draft("Mend the parser", "Because it was broken.", "relay/1-mend", "main")
COMMIT = "c" * 40


@pytest.fixture(params=list(ForgeKind))
def kind(request: pytest.FixtureRequest) -> ForgeKind:
    return ForgeKind(request.param)


@pytest.fixture
def server(kind: ForgeKind) -> Iterator[ForgeServer]:
    with forge_server(kind.value) as made:
        yield made


@pytest.fixture
def forge(kind: ForgeKind) -> Forge:
    return FORGES[kind]


@pytest.fixture
def place(kind: ForgeKind, server: ForgeServer) -> ForgePlace:
    return ForgePlace(kind, server.url, "team/remote")


def test_a_pull_request_is_opened_once(forge, server, place):
    made = forge.open(place, DRAFT, TOKEN)
    assert (made.number, made.status, made.merge_commit, made.merged_at) == (1, "open", None, None)
    assert made.url.startswith("https://forge.example/team/remote/")
    [pull] = server.pulls
    assert (pull["title"], pull["text"], pull["source"]) == (DRAFT.title, DRAFT.body, DRAFT.source_branch)
    assert forge.open(place, DRAFT, TOKEN) == made
    assert len(server.pulls) == 1


def test_a_pull_request_of_others_is_not_taken_for_ours(forge, server, place):
    server.ignores_conditions = True
    others = [
        {"source": "another", "target": "main"},
        {"source": DRAFT.source_branch, "target": "another"},
        {"source": DRAFT.source_branch, "target": "main", "repo": "fork/remote"},
        {"source": DRAFT.source_branch, "target": "main", "repo": None},
    ]
    server.pulls += [{"number": 100 + at, "state": "open", **one} for at, one in enumerate(others)]
    server.pulls += [{"number": 7, "state": "open", "source": DRAFT.source_branch}]
    assert forge.open(place, DRAFT, TOKEN).number == 7


def test_a_path_is_quoted(forge, server, kind):
    with pytest.raises(ForgeFailed, match="no such repository"):
        forge.get(ForgePlace(kind, server.url, "team/a?b#c"), 1, TOKEN)
    [(_, asked)] = server.asked
    assert "a%3Fb%23c" in asked


def test_one_that_another_worker_opens_at_the_same_time_is_taken(forge, server, place, monkeypatch):
    answer, looks = server.answer, []

    def late(method, path, query, body):
        if method == "GET" and query:
            looks.append(path)
            if len(looks) == 1:
                found = answer(method, path, query, body)
                server.pulls.append({"number": 7, "state": "open", "source": DRAFT.source_branch})
                return found
        return answer(method, path, query, body)

    monkeypatch.setattr(server, "answer", late)
    assert forge.open(place, DRAFT, TOKEN).number == 7


def test_its_status_is_followed(forge, server, place):
    number = forge.open(place, DRAFT, TOKEN).number
    server.close(number)
    assert forge.get(place, number, TOKEN).status == "closed"
    server.reopen(number)
    assert forge.get(place, number, TOKEN).status == "open"
    server.merge(number, COMMIT)
    found = forge.get(place, number, TOKEN)
    assert (found.status, found.merge_commit) == ("merged", COMMIT)
    assert found.merged_at == datetime(2026, 1, 31, 8, 2, 31, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (401, {"message": "Bad credentials"}, "the token is wrong or expired"),
        (403, {"message": "Resource not accessible"}, "the token may not do this"),
        (404, {"message": "Not Found"}, "the token may not see it"),
        (422, {"message": "Validation Failed", "errors": [{"message": "No commits between"}]}, "No commits between"),
        (500, {"message": f"oops {TOKEN}"}, "oops ***"),
        (200, ["what"], "is no"),
    ],
)
def test_a_refusal_says_what_to_do_and_has_no_token(forge, server, place, status, answer, words):
    server.refuse = (status, answer, {})
    with pytest.raises(ForgeFailed) as caught:
        forge.get(place, 1, TOKEN)
    assert words in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert caught.value.retry_seconds is None
    assert caught.value.__context__ is None or TOKEN not in str(caught.value.__context__)


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (429, {"Retry-After": "30"}),
        (403, {"Retry-After": "30"}),
        (503, {"Retry-After": "9" * 400}),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "99999999999"}),
        (429, {"RateLimit-Remaining": "0", "RateLimit-Reset": "99999999999"}),
    ],
)
def test_a_rate_limit_says_when_to_ask_again(forge, server, place, status, headers):
    server.refuse = (status, {"message": "API rate limit exceeded"}, headers)
    with pytest.raises(ForgeFailed, match="rate limit is used up") as caught:
        forge.get(place, 1, TOKEN)
    assert 30 <= (caught.value.retry_seconds or 0) <= 3600


def test_a_redirect_does_not_get_the_token(forge, server, place, kind):
    with forge_server(kind.value) as other:
        server.refuse = (302, {}, {"Location": f"{other.url}/repos/team/remote/pulls/1"})
        with pytest.raises(ForgeFailed, match="redirects are not followed"):
            forge.get(place, 1, TOKEN)
        assert other.asked == []


@pytest.mark.parametrize("token", ["one\nline-of-a-key", "schl\u00fcssel-to-hide"])
def test_a_token_that_no_header_can_have_is_in_no_error(forge, place, token):
    with pytest.raises(ForgeFailed, match="gave no answer") as caught:
        forge.get(place, 1, token)
    assert not any(part in str(caught.value) for part in ("line-of-a-key", "to-hide"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:99999", "http://[", "http://a..b"])
def test_an_address_that_is_none_is_named(forge, kind, url):
    with pytest.raises(ForgeFailed, match="gave no answer"):
        forge.get(ForgePlace(kind, url, "team/remote"), 1, TOKEN)


@pytest.mark.parametrize("begin", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
def test_a_host_that_answers_byte_by_byte_is_given_up(forge, kind, begin, monkeypatch):
    monkeypatch.setattr(rest, "_SECONDS", 0.5)
    over = threading.Event()

    def drip(listening: socket) -> None:
        peer, _ = listening.accept()
        with peer, suppress(OSError):
            peer.recv(65536)
            peer.sendall(begin)
            while not over.wait(0.1):
                peer.sendall(b"x")

    with create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,), daemon=True)
        thread.start()
        began = time.monotonic()
        with pytest.raises(ForgeFailed, match=r"more than 0\.5 s"):
            forge.get(ForgePlace(kind, f"http://127.0.0.1:{listening.getsockname()[1]}", "team/remote"), 1, TOKEN)
        assert time.monotonic() - began < 5
        over.set()
        thread.join(10)


def test_a_host_that_does_not_answer_is_named(forge, kind):
    with create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(ForgeFailed, match="gave no answer") as caught:
        forge.get(ForgePlace(kind, url, "team/remote"), 1, TOKEN)
    assert TOKEN not in str(caught.value)
