from pathlib import Path

import pytest

from relay_core.domain.git.url import RemotePolicy, parse_git_url
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.containers.tool import ToolResult
from relay_workers.git.host.advertisement import Advertisement
from relay_workers.git.host.fetched_mirror import FetchedMirror, StartPoint, StartPointMissing, choose_default, describe
from relay_workers.git.host.remote import explain_failure
from relay_workers.git.host.store import _parsed
from relay_workers.git.sandbox.clone_config import clone_config
from relay_workers.git.sandbox.container import container_failure, parse_answer, summarise

URL = parse_git_url("https://example.com/a", RemotePolicy())


# recorded from git 2.39.5 and OpenSSH 9.2
@pytest.mark.parametrize(
    ("errors", "meaning"),
    [
        ("fatal: could not read Username for 'https://example.com': terminal prompts disabled", "authentication"),
        (
            "git@example.com: Permission denied (publickey).\nfatal: Could not read from remote repository.",
            "authentication",
        ),
        ("fatal: unable to access 'https://example.com/a/': The requested URL returned error: 403", "authentication"),
        ("remote: Not Found\nfatal: repository 'https://example.com/a/' not found", "no git repository"),
        ("fatal: unable to access 'x': Failed to connect to example.com port 443: Connection refused", "unreachable"),
        ("ssh: connect to host example.com port 22: Connection timed out\nfatal: Could not read", "unreachable"),
        ("fatal: unable to connect to example.com:\nexample.com[0: 1.1.1.1]: errno=Connection refused", "unreachable"),
        ("fatal: unable to access 'x': The requested URL returned error: 302", "redirect"),
        ("fatal: unable to access 'x': server certificate verification failed. CAfile: none", "certificate"),
        ("Host key verification failed.\nfatal: Could not read from remote repository.", "host key"),
        ("fatal: fetch-pack: invalid index-pack output\nerror: index-pack died of signal 25", "larger"),
        ("fatal: write error: No space left on device", "disk"),
        ("fatal: Out of memory, malloc failed (tried to allocate 5 bytes)", "RELAY_GIT_HOST_MEMORY_BYTES"),
        ("fatal: http://x/a/info/refs not valid: is this a git repository?", "login page"),
        ("fatal: mismatched algorithms: client sha1; server sha256", "SHA-256"),
        ("fatal: something new\n", "something new"),
        ("", "no reason"),
    ],
)
def test_what_git_says_becomes_a_reason(errors, meaning):
    assert meaning in explain_failure(errors.encode(), URL)


def test_credentials_in_what_git_says_are_dropped():
    assert "sesame" not in explain_failure(b"fatal: weird 'https://me:sesame@example.com/a/'", URL)


def test_the_default_branch_is_what_the_remote_s_head_means():
    heads = {"dev": "1", "main": "2", "old": "1"}

    def default(head: str | None, ref: str | None = None) -> str | None:
        return choose_default(Advertisement({}, head, ref), heads)

    assert default("1", "refs/heads/old") == "old"
    assert default("2") == "main"
    assert default("1") == "dev"
    assert default("9") is None
    assert default(None) is None
    assert default(None, "refs/heads/master") is None
    assert choose_default(Advertisement({}, None, "refs/heads/master"), {"trunk": "1"}) == "trunk"


def test_a_clone_without_a_branch_starts_where_head_is():
    mirror = describe(Path("/x"), Advertisement({"refs/heads/caf\udce9": "1", "refs/tags/v": "2"}, "1", None))

    assert mirror.start_point(None) == StartPoint(None, "1")
    with pytest.raises(StartPointMissing, match="no branch that can be named"):
        mirror.start_point("cafe")


def test_a_missing_branch_is_answered_with_some_that_exist():
    mirror = FetchedMirror(Path("/x"), "main", {f"b{n}": "1" for n in range(20)} | {"main": "2"})

    assert mirror.start_point(None).commit == "2"
    with pytest.raises(StartPointMissing, match=r"no branch 'nope' \(it has main, b0, b1, .*…\)") as error:
        mirror.start_point("nope")
    assert error.value.reason == Reason.CLONE_FAILED
    with pytest.raises(StartPointMissing, match="target_branch"):
        FetchedMirror(Path("/x"), None, {"a": "1"}).start_point(None)


def test_a_status_is_counted():
    status = b"M  a\0 M b\0?? new\nline\0?? sub/\0 D c\0UU d\0A  e f\0"

    summary = summarise(status, complete=True)

    assert summary == {
        "staged": 2,
        "modified": 1,
        "deleted": 1,
        "untracked": 1,
        "unmerged": 1,
        "nested": 1,
        "paths": ["M  a", " M b", "?? new\nline", "?? sub/", " D c", "UU d", "A  e f"],
        "complete": True,
    }
    assert summarise(b"?? a\0?? b\0?? cu", complete=False)["untracked"] == 2
    assert len(summarise(b"?? a\0" * 500, complete=True)["paths"]) == 50


def test_answers_are_lines_of_key_and_value():
    answer = parse_answer(ToolResult(0, b"submodule a b\nsubmodule c\nhead " + b"a" * 40 + b"\npinned xyz\n", b""))

    assert answer.submodules == ("a b", "c")
    assert answer.commit("head") == "a" * 40
    assert answer.commit("pinned") is None
    assert answer.commit("none") is None


def test_ill_ends_of_the_container():
    settings = Settings()
    assert container_failure(ToolResult(0, b"", b""), settings) is None
    for result, reason in (
        (ToolResult(137, b"", b"", cancelled=True), Reason.USER),
        (ToolResult(137, b"", b"", timed_out=True), Reason.CLONE_TIMEOUT),
        (ToolResult(0, b"", b"Killed", oom=True), Reason.OOM),
        (ToolResult(2, b"", b"sh: oops"), Reason.INTERNAL_ERROR),
    ):
        failure = container_failure(result, settings)
        assert failure is not None
        assert failure.reason == reason


def test_values_in_a_clone_s_configuration_are_quoted():
    text = clone_config('/srv/a "b" \\ c\nd', Settings())

    assert '\turl = "/srv/a \\"b\\" \\\\ c d"\n' in text


def test_patches_are_cut_at_a_line_end():
    output = b" 2 files changed, 3 insertions(+), 1 deletion(-)\n\ndiff --git a b\n+one\n+two\n"

    patch = _parsed(output, 1000)
    assert (patch.files, patch.insertions, patch.deletions, patch.truncated) == (2, 3, 1, False)
    assert patch.text.startswith(b"diff --git")
    cut = _parsed(output, 22)
    assert (cut.text, cut.truncated) == (b"diff --git a b\n+one\n", True)
    assert _parsed(b"", 10).files == 0
