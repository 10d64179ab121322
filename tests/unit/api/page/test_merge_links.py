"""The address of a pull request comes from its host: the page makes a link of it only if it is one of the web."""

from typing import Any
from uuid import uuid4

import pytest

from relay_api.page.tasks import _merge


@pytest.mark.parametrize(
    ("url", "led"),
    [
        ("https://forge.example/team/app/pull/7", True),
        ("http://forge.example/7", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("data:text/html,<script>", False),
        ("//forge.example/7", False),
        ("", False),
        (None, False),
    ],
)
def test_only_an_address_of_the_web_is_a_link(url: str | None, led: bool):
    merge: dict[str, Any] = {"status": "open", "workspace_id": uuid4(), "pr_info": {"url": url}}
    assert _merge(merge, {})["link"] == (url if led else None)


def test_a_merge_without_a_pull_request_has_none():
    assert _merge({"status": "failed", "workspace_id": uuid4(), "pr_info": None}, {})["link"] is None
