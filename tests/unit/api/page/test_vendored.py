"""Files of others in the page's static folder are those that VENDORED.md names; templates run no inline code."""

import hashlib
import re
from importlib.resources import files

import pytest

STATIC = files("relay_api.page") / "static"
TEMPLATES = sorted(entry.name for entry in (files("relay_api.page") / "templates").iterdir())


def test_checksums():
    listed = re.findall(r"^\| `([^`]+)` .*`([0-9a-f]{64})` \|$", (STATIC / "VENDORED.md").read_text(), re.MULTILINE)
    assert listed
    for name, checksum in listed:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == checksum, name


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_has_no_inline_code_and_trusts_no_value(name):
    text = (files("relay_api.page") / "templates" / name).read_text()
    assert not re.search(r"\|\s*safe\b|autoescape|\sstyle=|\son[a-z]+=|hx-on|hx-vals|hx-vars|javascript:", text)
    assert all("nonce" in tag for tag in re.findall(r"<script[^>]*>", text))
    for link in re.findall(r'(?:href|action|src|hx-get)="\{\{([^}]*)', text):
        assert link.split("(")[0].strip().split("|")[0].strip() in {
            "static", "here", "self_url", "first_url", "next_url", "url", "step.url", "step.flower", "flower", "step.dev_server.url",
            "merge.link",
        }, link  # fmt: skip
