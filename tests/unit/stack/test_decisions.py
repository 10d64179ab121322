"""What the local stack decides before it acts: consent, engine addresses, mirrors, root file systems, restarts."""

from pathlib import Path

import pytest

from relay_stack.images.build import Recipe, own_ca_bundle
from relay_stack.images.rootfs import FALLBACK_IMAGE, Bootstrap, Pull, plan_rootfs
from relay_stack.machine.account import first_closed_folder
from relay_stack.machine.apt_sources import HostArchive, Source, choose, parse_deb822, parse_one_line, read_host
from relay_stack.machine.consent import Answer, decide
from relay_stack.machine.container_engine import usual_hosts
from relay_stack.services.keep_alive import LONGEST_DELAY_SECONDS, restart_delay
from relay_stack.services.process import Account
from relay_stack.services.programs import Endpoints, app_programs, environment_of

MIRROR = "http://mirror.example/debian"


@pytest.mark.parametrize(
    ("is_root", "yes", "terminal", "expected"),
    [
        (True, False, True, Answer.ASK),
        (True, True, True, Answer.GO),
        (True, False, False, Answer.GO),
        (False, True, True, Answer.EXPLAIN),
        (False, False, False, Answer.EXPLAIN),
    ],
)
def test_the_machine_is_changed_only_as_root_and_on_a_terminal_only_after_asking(is_root, yes, terminal, expected):
    assert decide(is_root=is_root, yes=yes, terminal=terminal) is expected


def test_an_engine_that_is_named_is_the_only_one_tried():
    environment = {"DOCKER_HOST": "tcp://other:2375", "RELAY_DOCKER_HOST": "unix:///mine.sock"}
    assert usual_hosts(environment, Path("/home/me")) == ("unix:///mine.sock",)
    assert usual_hosts({"DOCKER_HOST": "tcp://other:2375"}, Path("/home/me")) == ("tcp://other:2375",)


def test_usual_engines_are_tried_system_first_then_rootless_then_podman():
    hosts = usual_hosts({"XDG_RUNTIME_DIR": "/run/user/7"}, Path("/home/me"))
    assert hosts[0] == "unix:///var/run/docker.sock"
    assert "unix:///run/user/7/docker.sock" in hosts
    assert "unix:///run/user/7/podman/podman.sock" in hosts
    assert "unix:///home/me/.docker/run/docker.sock" in hosts


def test_one_line_sources_with_options_and_comments():
    text = f"""
# deb {MIRROR} commented main
deb [arch=amd64 signed-by=/k.gpg] {MIRROR} bookworm main contrib  # ours
deb [ trusted=yes ] {MIRROR} bookworm-updates main
deb-src {MIRROR} bookworm main
deb {MIRROR} too-short
"""
    assert list(parse_one_line(text)) == [
        Source(MIRROR, "bookworm", ("main", "contrib")),
        Source(MIRROR, "bookworm-updates", ("main",)),
    ]


def test_deb822_sources_with_comments_continuations_and_disabled_stanzas():
    text = f"""Types: deb deb-src
# a comment in between
URIs: {MIRROR}
Suites: bookworm
 bookworm-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .

Types: deb
URIs: {MIRROR}
Suites: off
Components: main
Enabled: no

Types: deb-src
URIs: {MIRROR}
Suites: sources
Components: main
"""
    assert list(parse_deb822(text)) == [
        Source(MIRROR, "bookworm", ("main",)),
        Source(MIRROR, "bookworm-updates", ("main",)),
    ]


def test_only_the_release_itself_is_taken_from_the_hosts_sources():
    security = Source("http://mirror.example/security", "bookworm-security", ("main", "non-free"))
    archive = choose(
        "bookworm",
        [
            Source("https://vendor.example/linux", "bookworm", ("stable",)),
            Source("cdrom:[Debian]/", "bookworm", ("main",)),
            Source(MIRROR, "bookworm", ("main", "contrib")),
            security,
            Source(MIRROR, "trixie", ("main",)),
        ],
    )
    assert archive is not None
    assert archive.mirror == MIRROR
    assert [source.line for source in archive.sources] == [
        f"deb {MIRROR} bookworm main",
        "deb http://mirror.example/security bookworm-security main",
    ]
    assert choose("bookworm", [security]) is None


def test_a_mirror_list_file_stands_for_its_first_mirror(tmp_path, monkeypatch):
    (tmp_path / "mirrors.list").write_text(f"# the list\n{MIRROR}\tpriority:1\nhttp://second.example\n")
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        f"Types: deb\nURIs: mirror+file:{tmp_path}/mirrors.list\nSuites: bookworm\nComponents: main\n"
    )
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"VERSION_CODENAME": "bookworm"})
    archive = read_host(tmp_path)
    assert archive is not None
    assert archive.mirror == MIRROR


def test_where_the_root_file_system_comes_from():
    archive = HostArchive("bookworm", MIRROR, ())
    assert plan_rootfs({"RELAY_ROOTFS_IMAGE": "mine:1"}, archive, is_root=True) == Pull("mine:1")
    assert plan_rootfs({}, archive, is_root=True) == Bootstrap(archive)
    assert plan_rootfs({}, archive, is_root=False) == Pull(FALLBACK_IMAGE)
    assert plan_rootfs({}, None, is_root=True) == Pull(FALLBACK_IMAGE)
    assert plan_rootfs({}, archive, is_root=False, here="relay-rootfs:1") == Pull("relay-rootfs:1")
    assert plan_rootfs({}, archive, is_root=True, here="relay-rootfs:1") == Bootstrap(archive)


def test_restarts_back_off_and_a_stable_process_starts_at_once():
    assert [restart_delay(1, failures) for failures in range(4)] == [0.5, 1, 2, 4]
    assert restart_delay(1, 5000) == LONGEST_DELAY_SECONDS
    assert restart_delay(3600, 7) == 0


def test_a_recipe_changes_with_its_files_and_arguments(tmp_path):
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    first = Recipe("x", tmp_path, {"A": "1"}).digest
    assert Recipe("y", tmp_path, {"A": "1"}).digest == first
    assert Recipe("x", tmp_path, {"A": "2"}).digest != first
    (tmp_path / "more").write_text("")
    assert Recipe("x", tmp_path, {"A": "1"}).digest != first


def test_a_ca_bundle_counts_only_where_the_file_exists(tmp_path):
    bundle = tmp_path / "ca.crt"
    assert own_ca_bundle({"SSL_CERT_FILE": str(bundle)}) is None
    bundle.write_text("")
    assert own_ca_bundle({"SSL_CERT_FILE": str(bundle)}) == bundle
    assert own_ca_bundle({"RELAY_CA_BUNDLE": str(tmp_path / "gone"), "SSL_CERT_FILE": str(bundle)}) == bundle


ENDS = Endpoints(
    "postgresql:///x", "redis://x", "unix:///d", 8700, 5555, 8701, "relay", "flower-secret", "the-secret-key"
)


def test_local_policy_yields_to_the_environment_and_addresses_do_not(tmp_path):
    made = environment_of(ENDS, tmp_path, {"RELAY_GIT_ALLOW_FILE": "false", "RELAY_DATA_DIR": "/other"})
    assert made["RELAY_GIT_ALLOW_FILE"] == "false"
    assert made["RELAY_GIT_ALLOW_HTTP"] == "true"
    assert made["RELAY_DATA_DIR"] == str(tmp_path)


def test_no_password_is_an_argument(tmp_path):
    programs = app_programs(ENDS, tmp_path, {})
    assert set(programs) == {"api", "worker", "flower"}
    assert not any("secret" in word for program in programs.values() for word in program.argv)
    assert programs["flower"].env["FLOWER_BASIC_AUTH"] == "relay:flower-secret"
    assert "--address=127.0.0.1" in programs["flower"].argv


def test_the_key_of_secrets_is_for_api_and_worker_and_yields_to_the_environment(tmp_path):
    own = {name: program.env.get("RELAY_SECRET_KEYS") for name, program in app_programs(ENDS, tmp_path, {}).items()}
    assert own == {"api": "the-secret-key", "worker": "the-secret-key", "flower": None}
    assert environment_of(ENDS, tmp_path, {"RELAY_SECRET_KEYS": "mine"})["RELAY_SECRET_KEYS"] == "mine"
    in_a_file = environment_of(ENDS, tmp_path, {"RELAY_SECRET_KEYS_FILE": "/keys", "RELAY_SECRET_KEYS": ""})
    assert (in_a_file["RELAY_SECRET_KEYS_FILE"], in_a_file["RELAY_SECRET_KEYS"]) == ("/keys", "")


def test_worker_and_flower_know_the_url_of_the_api_and_the_api_that_of_flower(tmp_path):
    programs = app_programs(ENDS, tmp_path, {})
    urls = {name: program.env.get("RELAY_API_PUBLIC_URL") for name, program in programs.items()}
    assert urls == {"api": None, "worker": "http://127.0.0.1:8700", "flower": "http://127.0.0.1:8700"}
    assert programs["api"].env["RELAY_FLOWER_URL"] == "http://127.0.0.1:5555"
    given = {"RELAY_API_PUBLIC_URL": "https://relay.example", "RELAY_FLOWER_URL": "https://flower.example"}
    programs = app_programs(ENDS, tmp_path, given)
    assert {program.env["RELAY_API_PUBLIC_URL"] for program in programs.values()} == {"https://relay.example"}
    assert programs["api"].env["RELAY_FLOWER_URL"] == "https://flower.example"


def test_the_first_folder_that_an_account_cannot_enter(tmp_path):
    stranger = Account("stranger", 54321, 54321)
    inner = tmp_path / "inner"
    inner.mkdir()
    inner.chmod(0o755)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o001 == 0:
            expected = folder  # pytest keeps its folders closed; the outermost is named
    assert first_closed_folder(inner, stranger) == expected
    assert first_closed_folder(Path("/usr/bin"), stranger) is None
