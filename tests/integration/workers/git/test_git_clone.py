import os
import shutil
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server, socket

import psutil
import pytest

from relay_core.domain.errors import InvalidInput, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.diagnostics import host_facts
from relay_workers.git.host import advertisement, mirror
from relay_workers.git.host.version import git_version
from relay_workers.git.port import FetchRequest
from tests.support.git_bench import BRANCH, UID, Bench, Remote, git, own, write

pytest_plugins = ["tests.support.git_fixtures"]
pytestmark = pytest.mark.docker


def refused(bench: Bench, reason: Reason, url: str, target: str | None = None) -> str:
    """The message of a clone that fails for the reason and leaves nothing behind but a complete mirror."""
    workspace = bench.workspace()
    with pytest.raises(StepFailed) as error:
        bench.clone(url, target, into=workspace)
    assert error.value.reason == reason, error.value
    assert not bench.left_overs()
    assert not workspace.clone.exists()
    return str(error.value)


def git_children() -> list[str]:
    return [child.name() for child in psutil.Process().children(recursive=True) if "git" in child.name()]


def test_a_clone_is_a_working_repository(bench, remote):
    git(remote.path, "tag", "-am", "one", "v1")
    git(remote.path, "branch", "feature")
    workspace = bench.clone(remote.url)
    clone = workspace.clone

    assert workspace.result is not None
    assert workspace.result.head_commit == git(remote.path, "rev-parse", "main")
    assert workspace.result.target_branch == "main"
    assert workspace.service.heads(workspace.dir, ["repo"])["repo"] == (workspace.base, BRANCH, None)
    assert (clone / "src/a.py").read_text() == "print(1)\n"
    assert clone.stat().st_uid == (clone / "src/a.py").stat().st_uid == UID
    assert git(clone, "status", "--porcelain") == ""
    assert git(clone, "log", "--oneline", "origin/main..") == ""
    assert git(clone, "rev-parse", "--abbrev-ref", "origin/HEAD") == "origin/main"
    assert git(clone, "branch", "-r", "--format=%(refname)").split() == [
        "refs/remotes/origin/HEAD",
        "refs/remotes/origin/feature",
        "refs/remotes/origin/main",
    ]
    assert git(clone, "tag") == "v1"
    git(clone, "fsck", "--no-dangling")
    write(clone / "new")
    git(clone, "add", "-A")
    git(clone, "commit", "-qm", "mine")
    assert git(clone, "log", "--format=%s", "origin/main..") == "mine"
    git(clone, "push", "-q", "origin", "HEAD")
    assert git(remote.path, "log", "-1", "--format=%s", BRANCH) == "mine"


def test_its_origin_is_the_remote_and_holds_no_secret(bench, remote):
    clone = bench.clone(remote.url).clone

    assert git(clone, "remote", "get-url", "origin") == remote.url
    config = (clone / ".git/config").read_text()
    assert "@" not in config.replace(bench.settings.git_author_email, "")
    assert not list((clone / ".git").glob("hooks/*"))


def test_workspaces_of_one_project_share_a_mirror_and_nothing_else(bench, remote):
    first, second = bench.clone(remote.url), bench.clone(remote.url)

    assert first.result is not None
    assert second.result is not None
    assert first.result.mirror_path == second.result.mirror_path
    assert len(bench.mirrors()) == 1
    inodes = {(w.clone / ".git").stat().st_ino for w in (first, second)}
    assert len(inodes) == 2
    for workspace in (first, second):
        write(workspace.clone / "new", str(workspace.id))
    with ThreadPoolExecutor() as pool:
        states = list(pool.map(lambda w: w.after("both at once"), (first, second)))
    assert all(state.committed and not state.problem for state in states)
    assert states[0].committed != states[1].committed


def test_workers_that_clone_a_new_remote_at_once_make_one_mirror(bench, remote):
    with ThreadPoolExecutor() as pool:
        workspaces = list(pool.map(lambda _: bench.clone(remote.url), range(3)))

    assert len({w.base for w in workspaces}) == 1
    assert len(list((bench.settings.data_dir / "mirrors").glob("*/*"))) == 2  # and its lock


def test_other_projects_have_mirrors_of_their_own(bench, remote):
    other = Bench(bench.settings, bench.tool)
    first, second = bench.clone(remote.url).result, other.clone(remote.url).result

    assert first is not None
    assert second is not None
    assert first.mirror_path != second.mirror_path


def test_a_target_branch_is_checked_out(bench, remote):
    git(remote.path, "checkout", "-qb", "dev/x")
    commit = remote.commit({"dev": "1"})
    git(remote.path, "checkout", "-q", "main")

    workspace = bench.clone(remote.url, "dev/x")

    assert workspace.base == commit
    assert (workspace.clone / "dev").exists()


def test_a_missing_branch_is_answered_with_those_that_exist(bench, remote):
    message = refused(bench, Reason.CLONE_FAILED, remote.url, "nope")
    assert "no branch 'nope' (it has main)" in message


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


@pytest.fixture
def silent_server() -> socket:
    with create_server(("127.0.0.1", 0)) as server:
        yield server


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


def test_a_later_clone_sees_what_the_remote_has_now(bench, remote):
    git(remote.path, "branch", "topic")
    first = bench.clone(remote.url)
    commit = remote.commit({"later": "1"})
    git(remote.path, "branch", "-D", "topic")
    git(remote.path, "branch", "topic/deep")

    second = bench.clone(remote.url)

    assert second.base == commit
    assert "topic'" in refused_target(bench, remote.url, "topic")
    assert bench.clone(remote.url, "topic/deep").base == commit
    git(first.clone, "fsck", "--no-dangling")


def refused_target(bench: Bench, url: str, target: str) -> str:
    with pytest.raises(StepFailed) as error:
        bench.clone(url, target)
    return str(error.value)


def test_history_that_the_remote_rewrote_stays_for_the_clones_that_borrow_it(bench, remote):
    first = bench.clone(remote.url)
    git(remote.path, "commit", "-q", "--amend", "-m", "rewritten")

    second = bench.clone(remote.url)

    assert first.base != second.base
    git(first.clone, "fsck", "--no-dangling")
    assert first.after().pinned_commit == first.base


def test_the_default_branch_may_change(bench, remote):
    bench.clone(remote.url)
    git(remote.path, "checkout", "-qb", "trunk")
    commit = remote.commit({"trunk": "1"})

    workspace = bench.clone(remote.url)

    assert workspace.result is not None
    assert (workspace.base, workspace.result.target_branch) == (commit, "trunk")


def shallow(remote: Remote, path: Path) -> Remote:
    """A remote as a CI checkout is: only the newest commit, which follows that of another."""
    for name in ("one", "two"):
        remote.commit({name: name})
    subprocess.run(["git", "clone", "-q", "--depth", "1", remote.url, path], check=True)
    return Remote(path)


def move_on(remote: Remote, copy: Remote) -> str:
    commit = remote.commit({"later": git(remote.path, "rev-list", "--count", "HEAD")})
    git(copy.path, "fetch", "-q", "--depth", "1", "origin", "main")
    git(copy.path, "reset", "-q", "--hard", "FETCH_HEAD")
    return commit


def test_a_shallow_remote_gives_whole_clones_and_is_followed(bench, remote, tmp_path):
    copy = shallow(remote, tmp_path / "copy")
    first = bench.clone(copy.url)
    assert git(first.clone, "rev-parse", "--is-shallow-repository") == "true"
    assert git(first.clone, "log", "--format=%s") == "change"
    git(first.clone, "fsck", "--no-dangling")

    commit = move_on(remote, copy)
    second = bench.clone(copy.url)

    assert second.base == commit
    for workspace in (first, second):
        git(workspace.clone, "fsck", "--no-dangling")
        assert git(workspace.clone, "rev-list", "--count", "HEAD")
        write(workspace.clone / "new")
        state = workspace.after("mine")
        assert (state.problem, state.commit_problem) == (None, None)
        assert state.patch is not None
        assert state.patch.files == 1
    git(copy.path, "fetch", "-q", "--unshallow", "origin")
    third = bench.clone(copy.url)
    assert git(third.clone, "rev-parse", "--is-shallow-repository") == "false"
    assert git(third.clone, "rev-list", "--count", "HEAD") == git(remote.path, "rev-list", "--count", "HEAD")


def test_a_ref_that_git_leaves_behind_is_no_success(bench, remote, tmp_path, monkeypatch):
    copy = shallow(remote, tmp_path / "copy")
    bench.clone(copy.url)
    move_on(remote, copy)
    without = tuple(word for word in mirror._FETCH if word != "--update-shallow")
    monkeypatch.setattr(mirror, "_FETCH", without)
    for path in bench.mirrors():
        (path / "shallow").rename(path / "aside")  # so that nothing asks for more history

    message = refused(bench, Reason.CLONE_FAILED, copy.url)

    assert "did not bring these refs up to date with the remote: main" in message


def test_head_moves_to_another_branch_at_the_same_commit(bench, remote):
    assert bench.clone(remote.url).result.target_branch == "main"
    git(remote.path, "checkout", "-qb", "develop")
    assert bench.clone(remote.url).result.target_branch == "develop"


def test_a_head_on_no_branch(bench, remote, tmp_path):
    (tmp_path / "ci").mkdir()
    git(tmp_path / "ci", "init", "-q", "-b", "main")
    git(tmp_path / "ci", "fetch", "-q", remote.url, "+refs/heads/main:refs/remotes/pull/1/merge")
    git(tmp_path / "ci", "checkout", "-q", "--detach", "refs/remotes/pull/1/merge")
    before = remote.commit({"more": "1"})
    remote.commit({"more": "2"})
    git(remote.path, "checkout", "-q", "--detach", before)

    for _ in range(2):
        workspace = bench.clone(f"file://{tmp_path}/ci")
        assert workspace.result.target_branch is None
        assert workspace.base == git(tmp_path / "ci", "rev-parse", "HEAD")
        assert b"from a HEAD on no branch at" in b"".join(workspace.output)
        assert bench.clone(remote.url).base == before
    write(workspace.clone / "new")
    assert workspace.after("mine").committed


def test_a_branch_whose_name_is_not_utf8(bench, remote):
    packed = remote.path / ".git" / "packed-refs"
    git(remote.path, "pack-refs", "--all")
    line = packed.read_bytes().replace(b"refs/heads/main", b"refs/heads/caf\xe9").splitlines()[-1]
    packed.write_bytes(
        b"\n".join([packed.read_bytes().splitlines()[0], line, *packed.read_bytes().splitlines()[1:], b""])
    )

    assert "no branch 'nope' (it has main)" in refused(bench, Reason.CLONE_FAILED, remote.url, "nope")
    (remote.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/caf\xe9\n")
    workspace = bench.clone(remote.url)
    assert b"caf\xe9" in (workspace.clone / ".git" / "packed-refs").read_bytes()
    (remote.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/main\n")
    packed.write_bytes(packed.read_bytes().replace(line + b"\n", line.replace(line[:40], git_commit(remote)) + b"\n"))
    (remote.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/caf\xe9\n")
    assert bench.clone(remote.url).result.target_branch is None


def git_commit(remote: Remote) -> bytes:
    """A commit that no branch is at."""
    return git(remote.path, "commit-tree", "-m", "x", "main^{tree}", "-p", "main").encode()


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


def test_a_fetch_leaves_the_node_s_floor_alone(bench, remote):
    bench.clone(remote.url)
    full = bench.with_settings(node_min_free_bytes=1 << 60)
    assert "RELAY_NODE_MIN_FREE_BYTES" in refused(full, Reason.DISK_LIMIT, remote.url)

    (remote.path / "big").write_bytes(os.urandom(3 << 20))
    remote.commit({})
    small = bench.with_settings(mirror_max_bytes=2 << 20)
    assert "RELAY_MIRROR_MAX_BYTES" in refused(small, Reason.CLONE_FAILED, remote.url)


def test_the_disk_that_fills_during_a_fetch_ends_it(bench, silent_server, monkeypatch):
    usage = shutil.disk_usage(bench.settings.data_dir.parent)
    free = iter([usage.free, usage.free])
    monkeypatch.setattr(
        "relay_workers.git.host.mirror.shutil.disk_usage", lambda _: usage._replace(free=next(free, 0))
    )  # a disk cannot be filled here without harm to others

    refused(bench, Reason.DISK_LIMIT, f"git://127.0.0.1:{silent_server.getsockname()[1]}/a")

    assert not git_children()


def test_a_clone_s_log_has_no_progress_bars(bench, remote):
    remote.commit({f"f{n}": f"{n}\n" for n in range(300)})

    output = b"".join(bench.clone(remote.url).output)

    assert b"done." in output
    assert b"\r" not in output


def test_a_killed_fetch_does_not_block_the_next(bench, remote):
    first = bench.clone(remote.url)
    assert first.result is not None
    left = first.result.mirror_path
    for name in ("relay-fetching", "packed-refs.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x"):
        (left / name).touch()
    (left.parent / f"{left.name}.partial-1").mkdir()
    commit = remote.commit({"later": "1"})

    assert bench.clone(remote.url).base == commit
    assert not list(left.glob("objects/pack/tmp_*"))


def test_a_killed_checkout_is_made_again_and_a_complete_one_kept(bench, remote):
    workspace = bench.workspace()
    workspace.clone.parent.mkdir(parents=True)
    for path in (workspace.dir, workspace.clone.parent):
        own(path)
    write(workspace.clone.parent / "repo.partial-0123" / "half")

    bench.clone(remote.url, into=workspace)
    assert [path.name for path in workspace.clone.parent.iterdir()] == ["repo"]
    base = workspace.base
    write(workspace.clone / "precious")
    remote.commit({"later": "1"})
    bench.clone(remote.url, into=workspace)

    assert workspace.base == base
    assert (workspace.clone / "precious").exists()


def test_submodules_are_reported_and_left_empty(bench, remote, tmp_path):
    (tmp_path / "sub").mkdir()
    git(tmp_path / "sub", "init", "-q")
    Remote(tmp_path / "sub").commit({"s": "1"})
    git(remote.path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "sub"), "lib sub")
    git(remote.path, "commit", "-qm", "submodule")

    workspace = bench.clone(remote.url)

    assert workspace.result is not None
    assert workspace.result.submodules == ("lib sub",)
    assert list((workspace.clone / "lib sub").iterdir()) == []
    assert b"Submodules are left empty" in b"".join(workspace.output)
    state = workspace.after()
    assert (state.dirty, state.problem) == (False, None)


def test_files_of_lfs_are_reported_and_left_as_pointers(bench, remote):
    """A real pointer, as git-lfs 3 writes it; nothing here runs git-lfs."""
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 5\n"
    remote.commit(
        {
            ".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n",
            "data/big one.bin": pointer,
            "new\nhead x.bin": pointer,
            "raw.bin": "committed by mistake",
            "text": pointer,
        }
    )

    workspace = bench.clone(remote.url)

    assert (workspace.clone / "data/big one.bin").read_text() == pointer
    told = [line for line in b"".join(workspace.output).decode().splitlines() if "LFS" in line]
    assert told == ['Files of Git LFS are left as pointers: data/big one.bin, "new\\nhead x.bin"']
    assert workspace.base == git(remote.path, "rev-parse", "main")
    assert not workspace.after().dirty


def test_odd_names_links_and_modes_arrive(bench, remote):
    odd = {"with space": "1", "new\nline": "2", "tab\there": "3", 'quo"te': "4", "-dash": "5", "ü/ñ": "6", "*": "7"}
    remote.commit(odd)
    (remote.path / "link").symlink_to("/etc/passwd")
    (remote.path / "run.sh").write_text("#!/bin/sh\n")
    (remote.path / "run.sh").chmod(0o755)
    remote.commit({})

    workspace = bench.clone(remote.url)

    for name, content in odd.items():
        assert (workspace.clone / name).read_text() == content
    assert (workspace.clone / "link").readlink() == Path("/etc/passwd")
    assert os.access(workspace.clone / "run.sh", os.X_OK)
    assert not workspace.after().dirty


def test_five_thousand_files(bench, remote):
    remote.commit({f"d{n % 40}/f{n}": f"{n}\n" for n in range(5000)})

    workspace = bench.clone(remote.url)

    assert len(git(workspace.clone, "ls-files").splitlines()) == 5003
    assert not workspace.after().dirty
    for n in range(0, 5000, 2):
        write(workspace.clone / f"d{n % 40}/f{n}", "changed\n")
    state = workspace.after("half of them")
    assert state.committed
    assert state.patch is not None
    assert state.patch.files == 2500


def tree_of(path: Path, entries: list[tuple[str, str, str, str]]) -> str:
    listing = "".join(f"{mode} {kind} {oid}\t{name}\n" for mode, kind, oid, name in entries)
    return git(path, "mktree", text=listing)


def bomb(remote: Remote, *, blob: bytes, levels: int, width: int) -> None:
    """A commit of a few kilobytes whose checkout is as large as one likes."""
    (remote.path / "blob").write_bytes(blob)
    oid = git(remote.path, "hash-object", "-w", "blob")
    entries = [("100644", "blob", oid, f"f{n}") for n in range(width)]
    for _ in range(levels):
        oid = tree_of(remote.path, entries)
        entries = [("040000", "tree", oid, f"d{n}") for n in range(width)]
    commit = git(remote.path, "commit-tree", "-m", "bomb", tree_of(remote.path, entries))
    git(remote.path, "update-ref", "refs/heads/bomb", commit)
    (remote.path / "blob").unlink()


def test_a_bomb_of_files_is_refused_before_it_is_written(bench, remote):
    bomb(remote, blob=b"x", levels=10, width=10)

    message = refused(bench, Reason.DISK_LIMIT, remote.url, "bomb")

    assert "more than 1000000 files" in message


def test_a_bomb_of_bytes_is_refused_before_it_is_written(bench, remote):
    bomb(remote, blob=bytes(20 << 20), levels=2, width=50)

    message = refused(bench, Reason.DISK_LIMIT, remote.url, "bomb")

    assert "larger than" in message


def test_a_bomb_for_the_memory_dies_in_its_container(bench, remote):
    bomb(remote, blob=b"x", levels=5, width=12)
    small = bench.with_settings(git_container_memory_bytes=64 << 20, checkout_max_files=10**9)

    assert "MiB of memory" in refused(small, Reason.OOM, remote.url, "bomb")


def test_a_checkout_that_takes_too_long_is_ended(bench, remote):
    bomb(remote, blob=b"x", levels=5, width=12)
    quick = bench.with_settings(
        git_container_timeout_seconds=1, checkout_max_files=10**9, git_container_memory_bytes=1 << 30
    )

    assert "more than 1 s" in refused(quick, Reason.CLONE_TIMEOUT, remote.url, "bomb")


@pytest.mark.alone
def test_a_checkout_can_be_cancelled(bench, remote):
    bomb(remote, blob=b"x", levels=5, width=12)
    patient = bench.with_settings(checkout_max_files=10**9, git_container_memory_bytes=1 << 30)
    patient.clone(remote.url)
    cancelled = threading.Event()
    threading.Timer(0.8, cancelled.set).start()
    workspace = bench.workspace()
    started = time.monotonic()

    with pytest.raises(StepFailed) as error:
        patient.clone(remote.url, "bomb", into=workspace, cancelled=cancelled)

    assert error.value.reason == Reason.USER
    assert time.monotonic() - started < 3
    assert list(workspace.clone.parent.iterdir()) == []


def test_a_missing_image_is_named(bench, remote):
    message = refused(bench.with_settings(git_image="relay-none:1"), Reason.IMAGE_UNAVAILABLE, remote.url)
    assert "relay-none:1" in message


def test_local_remotes_that_a_container_or_another_host_controls_are_refused(bench, remote, tmp_path):
    inside = bench.clone(remote.url).clone
    git(remote.path, "config", "uploadpack.allowFilter", "true")
    partial = tmp_path / "partial"
    subprocess.run(["git", "clone", "-q", "--filter=blob:none", "--no-checkout", remote.url, partial], check=True)
    (tmp_path / "link").symlink_to(inside)

    for url, message in (
        (f"file://{inside}", "data directory"),
        (f"file://{tmp_path}/link", "data directory"),
        (str(partial), "partial clone"),
    ):
        with pytest.raises(StepFailed, match=message):
            bench.clone(url)


def test_a_repository_whose_dot_git_is_a_file(bench, remote, tmp_path):
    git(remote.path, "worktree", "add", "-q", "-b", "side", tmp_path / "worktree")
    side = Remote(tmp_path / "worktree").commit({"side": "1"})
    git(tmp_path, "clone", "-q", "--separate-git-dir", tmp_path / "kept.git", remote.url, "separate")
    git(remote.path, "-c", "protocol.file.allow=always", "submodule", "add", "-q", remote.url, "lib")
    (tmp_path / "around").mkdir()
    git(tmp_path, "clone", "-q", "--bare", remote.url, "around/.bare")
    (tmp_path / "around" / ".git").write_text("gitdir: ./.bare\n")
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / ".git").write_text("gitdir: ../gone\n")

    found = bench.clone(f"file://{tmp_path}/worktree")
    assert (found.base, found.result.target_branch) == (side, "side")
    for path in (tmp_path / "separate", remote.path / "lib", tmp_path / "around"):
        assert bench.clone(f"file://{path}").result.target_branch == "main"
    assert "points to '../gone'" in refused(bench, Reason.CLONE_FAILED, f"file://{tmp_path}/dangling")


@pytest.mark.parametrize("how", ["alternate", "alternate of it", "objects", "pack", "loose", "refs", "dot git"])
def test_a_local_remote_that_reaches_into_relay_s_directory_is_refused(bench, remote, tmp_path, how):
    """Otherwise objects of another project's mirror would be checked out."""
    bench.clone(remote.url)
    (mirror_of_another,) = bench.mirrors()
    evil = tmp_path / "evil.git"
    git(tmp_path, "init", "-q", "--bare", "evil.git")
    objects = evil / "objects"
    if how.startswith("alternate"):
        (tmp_path / "between" / "info").mkdir(parents=True)
        (tmp_path / "between" / "info" / "alternates").write_text(f"{mirror_of_another}/objects\n")
        target = mirror_of_another / "objects" if how == "alternate" else tmp_path / "between"
        (objects / "info" / "alternates").write_text(f"# a comment\n{os.path.relpath(target, objects)}\n")
    elif how == "dot git":
        (evil / ".git").write_text(f"gitdir: {mirror_of_another}\n")
    else:
        place, target = {
            "objects": ("objects", mirror_of_another / "objects"),
            "pack": ("objects/pack", mirror_of_another / "objects" / "pack"),
            "loose": ("objects/ab", mirror_of_another / "objects"),
            "refs": ("refs", mirror_of_another / "refs"),
        }[how]
        if (evil / place).exists():
            shutil.rmtree(evil / place)
        (evil / place).symlink_to(target)
    if how != "refs":
        (evil / "refs" / "heads" / "main").write_text(git(remote.path, "rev-parse", "main") + "\n")

    message = refused(Bench(bench.settings, bench.tool), Reason.CLONE_FAILED, f"file://{evil}")

    assert "Relay's own data directory" in message


def test_alternates_elsewhere_are_followed(bench, remote, tmp_path):
    git(tmp_path, "clone", "-q", "--shared", remote.path, "borrower")
    assert (bench.clone(f"file://{tmp_path}/borrower").clone / "README").exists()


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


def test_removing_a_workspace_removes_what_others_own_and_what_is_deep(bench, remote):
    workspace = bench.clone(remote.url)
    write(workspace.clone / "new")
    workspace.after()
    deep = workspace.dir / "home"
    here = os.open(workspace.dir, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("home", dir_fd=here)
        here_below = os.open("home", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = here_below
    os.close(here)
    (workspace.dir / "out").symlink_to(remote.path)

    workspace.service.remove_workspace(workspace.id, workspace.dir)
    workspace.service.remove_workspace(workspace.id, workspace.dir)

    assert not deep.exists()
    assert not workspace.dir.exists()
    assert not (bench.settings.data_dir / "stores" / str(workspace.id)).exists()
    assert (remote.path / "README").exists()


def test_nothing_of_the_tools_is_left(bench, remote, tool_runner):
    bench.clone(remote.url)
    (workspace,) = (bench.settings.data_dir / "workspaces").iterdir()
    ours = ["relay.tool=1", f"relay.workspace_id={workspace.name}"]
    deadline = time.monotonic() + 10
    while tool_runner._api.containers(all=True, filters={"label": ours}):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def files_of(bench: Bench, remote: Remote, *paths: str, target: str | None = None, ref: str | None = None):
    request = FetchRequest(bench.project, remote.url, target, lambda _: None, threading.Event(), ref)
    return bench.service.files_of_target(bench.service.fetch(request), paths, 100)


def test_files_of_a_commit_are_read_as_git_stores_them(bench, remote):
    write(remote.path / ".gitattributes", "relay.toml filter=evil eol=crlf export-subst\n")
    write(remote.path / "relay.toml", "image = 1\n")
    write(remote.path / "large", "x" * 1000)
    write(remote.path / "folder/relay.toml", "in a folder\n")
    (remote.path / "link").symlink_to("/etc/passwd")
    remote.commit({}, "files")
    found = files_of(bench, remote, "relay.toml", "gone", "large", "src", "folder/relay.toml", "link", "*.toml", "-r")
    assert {file.path: file.content for file in found} == {
        "relay.toml": b"image = 1\n",
        "large": b"x" * 101,
        "src": None,
        "folder/relay.toml": b"in a folder\n",
        "link": None,
    }


def test_files_come_from_the_target_branch_also_if_the_clone_starts_from_another_ref(bench, remote):
    git(remote.path, "checkout", "-q", "-b", "theirs")
    write(remote.path / "relay.toml", "image = 'evil'\n")
    theirs = remote.commit({}, "their file")
    git(remote.path, "checkout", "-q", "main")
    assert files_of(bench, remote, "relay.toml", ref=theirs) == []
    assert files_of(bench, remote, "relay.toml", ref=theirs, target="theirs")[0].content == b"image = 'evil'\n"
