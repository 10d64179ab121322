"""Remotes that are refused, missing, silent or misbehaving end a clone with a message that says so."""

import os
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from socket import create_server

import pytest

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.diagnostics import host_facts
from relay_workers.git.host import advertisement
from relay_workers.git.host.version import git_version
from tests.support.git_bench import Remote, git, git_children, refused

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def test_an_empty_repository_is_refused(bench, tmp_path):
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")

    assert "is empty" in refused(bench, Reason.CLONE_FAILED, f"file://{tmp_path}/empty")
    assert not bench.mirrors()


def test_a_remote_that_is_not_there(bench, tmp_path):
    (tmp_path / "plain").mkdir()
    for path in ("nothing", "plain"):
        assert "no git repository" in refused(bench, Reason.CLONE_FAILED, f"file://{tmp_path}/{path}")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{}/a", "git://127.0.0.1:{}/a", "ssh://git@127.0.0.1:{}/a"])
def test_an_unreachable_remote(bench, url):
    with create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    message = refused(bench, Reason.CLONE_FAILED, url.format(port))

    assert "unreachable" in message
    assert not bench.mirrors()


def test_credentials_in_a_url_reach_nothing(bench):
    with pytest.raises(InvalidInput) as error:
        bench.clone("http://me:sesame@127.0.0.1/a")
    assert "sesame" not in str(error.value)
    assert not bench.settings.data_dir.exists()


def test_a_loopback_remote_is_refused_by_a_server(bench):
    strict = bench.with_settings(git_allow_private_hosts=False)
    for url in ("http://127.0.0.1/a", "https://localhost/a", "git@[::1]:a"):
        with pytest.raises(InvalidInput) as error:
            strict.clone(url)
        assert error.value.code == "git_host_not_allowed"


def test_a_name_that_resolves_to_a_private_address_is_refused_at_the_fetch(bench, monkeypatch):
    # No public name can be resolved here: the resolver is told what such a name would answer.
    answer = [(2, 1, 6, "", ("127.0.0.1", 443))]
    monkeypatch.setattr("relay_workers.git.host.remote.socket.getaddrinfo", lambda *_, **__: answer)
    strict = bench.with_settings(git_allow_private_hosts=False)

    message = refused(strict, Reason.CLONE_FAILED, "https://rebind.example.com/a")

    assert "private, loopback or reserved" in message


@pytest.mark.alone
def test_a_clone_that_hangs_ends_in_time(bench, silent_server):
    quick = bench.with_settings(clone_timeout_seconds=0.7)
    for scheme in ("git", "http"):
        started = time.monotonic()
        message = refused(quick, Reason.CLONE_TIMEOUT, f"{scheme}://127.0.0.1:{silent_server.getsockname()[1]}/a")
        assert "took too long" in message
        assert time.monotonic() - started < 3
        assert not git_children()
    assert not bench.mirrors()


@pytest.mark.alone
def test_a_clone_that_hangs_can_be_cancelled(bench, silent_server):
    cancelled = threading.Event()
    workspace = bench.workspace()
    threading.Timer(0.4, cancelled.set).start()
    started = time.monotonic()

    with pytest.raises(StepFailed) as error:
        bench.clone(f"git://127.0.0.1:{silent_server.getsockname()[1]}/a", into=workspace, cancelled=cancelled)

    assert error.value.reason == Reason.USER
    assert time.monotonic() - started < 2
    assert not git_children()
    assert not bench.left_overs()
    assert not bench.mirrors()


class Redirect(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.seen.append(self.path)
        self.send_response(302)
        self.send_header("Location", f"http://127.0.0.1:{self.server.server_port}/elsewhere{self.path}")
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def http(request):
    """Start an HTTP server with a handler; returns it."""
    servers = []

    def start(handler) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.seen = []
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_redirects_are_not_followed(bench, http):
    server = http(Redirect)

    message = refused(bench, Reason.CLONE_FAILED, f"http://127.0.0.1:{server.server_port}/a")

    assert "redirect" in message
    assert not [path for path in server.seen if path.startswith("/elsewhere")]


def test_a_clone_over_http_by_name(bench, remote, http, tmp_path):
    bare = tmp_path / "served" / "project.git"
    subprocess.run(["git", "clone", "-q", "--bare", remote.path, bare], check=True)
    git(bare, "update-server-info")

    class Serve(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(bare.parent))

        def log_message(self, *_):
            pass

    url = f"http://localhost:{http(Serve).server_port}/project.git"
    clone = bench.clone(url).clone
    assert (clone / "README").read_text() == "hello\n"
    assert git(clone, "remote", "get-url", "origin") == url
    assert "no git repository" in refused(bench, Reason.CLONE_FAILED, url.replace("project", "nothing"))


def test_a_remote_with_too_many_branches_is_refused(bench, remote, monkeypatch):
    bench.clone(remote.url)
    monkeypatch.setattr(advertisement, "MOST_REFS", 3)
    for name in ("a", "b", "c"):
        git(remote.path, "branch", name)

    assert "more than 3 branches and tags" in refused(bench, Reason.CLONE_FAILED, remote.url)


def test_sha256_is_named(bench, tmp_path):
    (tmp_path / "long").mkdir()
    git(tmp_path / "long", "init", "-q", "--object-format=sha256")
    Remote(tmp_path / "long").commit({"a": "1"})

    for _ in range(2):
        assert "SHA-256 object names" in refused(bench, Reason.CLONE_FAILED, f"file://{tmp_path}/long")


@pytest.mark.parametrize("page", [b"<html>sign in</html>", b"<!DOCTYPE html>\n<html>\nsign in</html>\n"])
def test_a_login_page_is_no_empty_repository(bench, http, page):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    message = refused(bench, Reason.CLONE_FAILED, f"http://127.0.0.1:{http(Page).server_port}/a")

    assert "not as a git server: a login page" in message


@pytest.mark.parametrize(("number", "said"), [("2.30.2", "is 2.30"), ("", "cannot be run")])
def test_an_old_git_that_ignores_the_pinned_address_is_not_used_for_it(bench, tmp_path, monkeypatch, number, said):
    (tmp_path / "git").write_text(f"#!/bin/sh\necho 'git version {number}'\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    git_version.cache_clear()
    try:
        message = refused(
            bench.with_settings(git_allow_private_hosts=False), Reason.CLONE_FAILED, "https://192.0.9.1/a"
        )
        (check,) = host_facts.examine_git(bench.settings.model_copy(update={"git_allow_private_hosts": False}))
    finally:
        git_version.cache_clear()

    assert said in message
    assert (check.level, said in check.message) == ("error", True)


def test_a_name_or_branch_that_is_an_option_is_refused(bench, remote):
    for name in ("..", "-x", "a/b", ".git", "x.partial-1"):
        with pytest.raises(InvalidInput):
            bench.clone(remote.url, name=name)
    with pytest.raises(InvalidInput):
        bench.clone(remote.url, "--upload-pack=x")
