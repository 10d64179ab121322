"""The job file: its values, and the line and advice of each fault."""

import time

import pytest

from relay_core.domain.job_file import MAX_BYTES, JobFile, JobFileInvalid, ServerRules, parse
from relay_core.domain.toml_lines import key_lines, line_of

FULL = """\
# How Relay runs this repository.
image = "python:3.12"
setup = '''
pip install -e .
image = "not a key"
'''
cleanup = "make clean"
dev_server = "python -m http.server $PORT"
archive = "tar c ."
working_dir = "./services/api/"

[limits]
memory_bytes = "4g"
timeout_seconds = "10m"
cpus = 1.5

[executor]
name = "claude-code"
model = "opus"
"""


def faults(text: str, rules: ServerRules | None = None) -> list[tuple[int, str]]:
    with pytest.raises(JobFileInvalid) as caught:
        parse(text.encode(), "relay.toml", rules)
    assert str(caught.value).startswith("relay.toml:")
    return [(fault.line, fault.message) for fault in caught.value.faults]


def test_every_value_of_a_complete_file_is_read():
    assert parse(FULL.encode(), "relay.toml") == JobFile(
        "relay.toml",
        image="python:3.12",
        scripts={
            "setup_script": 'pip install -e .\nimage = "not a key"\n',
            "cleanup_script": "make clean",
            "dev_server_script": "python -m http.server $PORT",
            "archive_script": "tar c .",
        },
        working_dir="services/api",
        limits={"memory_bytes": 4 << 30, "timeout_seconds": 600, "cpus": 1.5},
        executor={"name": "claude-code", "model": "opus"},
    )


def test_an_empty_file_says_nothing():
    assert parse(b"", ".relay/relay.toml") == JobFile(".relay/relay.toml")


def test_an_empty_script_stands_for_no_script():
    assert parse(b'setup = ""', "relay.toml").scripts == {"setup_script": ""}


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("\nimage = \n", 2, "not TOML: Invalid value at column 9"),
        ('image = "a"\nsetup = """\n', 2, "not TOML: Unterminated string"),
        ('image = "a"\n\nsetup_script = "x"\n', 3, "do you mean setup?"),
        ('image = "a"\ncaches = ["~/.npm"]\n', 2, "Relay has no caches yet"),
        ('copy_files = [".env"]\n', 1, "a clone holds the files of the commit only"),
        ('secrets = ["TOKEN"]\n', 1, "relay run --secret"),
        ("setup_as_root = true\n", 1, "relay run --setup-as-root"),
        ("setup = 3\n", 1, "setup must be a text"),
        ('setup = "a\\u0000b"\n', 1, "NUL"),
        ('image = "-x"\n', 1, "'-x' is no name of an image"),
        ('working_dir = "../x"\n', 1, "relative to its root and without '..'"),
        ('limits = "2g"\n', 1, "begun with [limits]"),
        (
            '[limits]\ncpus = 1\nmemory_bytes = "2x"\n',
            3,
            "'2x' is no number for memory_bytes (units of it: k, m, g, t)",
        ),
        ("[limits]\nmemory = 1\n", 2, "limits.memory is not a limit"),
        ("[limits]\nmemory_bytes = 1\n", 2, "limits.memory_bytes must be"),
        ("[limits]\ncpus = nan\n", 2, "limits.cpus must be a number"),
        ("[limits]\nkill_grace_seconds = 1e9\n", 2, "between 0 and 600"),
        ('[executor]\nmodel = "x"\n', 1, "executor.name is missing"),
        ('[executor]\nname = "shell"\n', 2, "a file may name agents only"),
        ('[executor]\nname = "claude"\n', 2, "claude"),
        ('[executor]\nname = "codex"\nargs = ["-x"]\n', 3, "a file cannot set it"),
        ('[executor]\nname = "codex"\nreasoning_effort = "most"\n', 3, "there are: none, minimal"),
        ('executor = { name = "codex", env = {} }\n', 1, "executor.env is not a key"),
    ],
)
def test_a_fault_names_its_line_and_what_to_do(text: str, line: int, words: str):
    [(found, message)] = faults(text)
    assert (found, words in message) == (line, True), message


def test_all_faults_are_told_in_the_order_of_their_lines():
    found = faults('a = 1\nimage = ""\n' + "".join(f"key{number} = 1\n" for number in range(9)))
    assert [line for line, _ in found] == list(range(1, 12))


def test_the_servers_maxima_and_images_bind_a_file():
    rules = ServerRules({"memory_bytes": 1 << 30}, ["relay-*"])
    [(line, limit)] = faults("[limits]\nmemory_bytes = 2147483648\n", rules)
    assert (line, "between 16777216 and 1073741824 on this server" in limit) == (2, True)
    [(_, image)] = faults('image = "evil:latest"', rules)
    assert "allowed: relay-*" in image
    assert parse(b'image = "relay-base:latest"', "relay.toml", rules).image == "relay-base:latest"


@pytest.mark.parametrize(
    "content",
    [
        b"x" * (MAX_BYTES + 1),
        b"a = " + b"[" * 16_000,
        b"a = " + b"9" * 16_000,
        b"a" + b".a" * 8_000 + b" = 1",
        b"a = '''" + b"\n" * 16_000,
        b"\xff\xfe",
        b'"' + b"\\u0041" * 2_500 + b'" = 1',
    ],
    ids=["large", "nested", "digits", "dotted", "open", "binary", "escapes"],
)
def test_a_hostile_file_is_a_fault_and_takes_no_time(content: bytes):
    began = time.process_time()
    with pytest.raises(JobFileInvalid) as caught:
        parse(content, "relay.toml")
    assert len(str(caught.value)) < 2000
    assert time.process_time() - began < 5


def test_lines_are_those_of_keys_not_of_text_in_strings():
    lines = key_lines(FULL)
    assert [line_of(lines, path) for path in (("image",), ("setup",), ("cleanup",), ("limits",))] == [2, 3, 7, 12]
    assert line_of(lines, ("limits", "cpus")) == 15
    assert line_of(lines, ("limits", "unknown")) == 12
