"""The page about the API in a browser: the viewer runs under the page's policy and shows bodies with examples."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine

from tests.support.api_fixtures import Api, api_on_a_port, settings_for
from tests.support.browser_fixtures import NARROW, WIDE, chromium, open_page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def api(database: Engine, database_url: str, redis_url: str) -> Iterator[Api]:
    with api_on_a_port(database, settings_for(database_url, redis_url)) as api:
        yield api


@pytest.mark.parametrize("viewport", [WIDE, NARROW])
def test_the_page_shows_fields_and_an_example_of_a_body(api: Api, browser: Browser, viewport: dict[str, int]):
    page = open_page(browser, str(api.client.base_url), viewport, color_scheme="dark")
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    elsewhere: list[str] = []
    page.on("request", lambda request: elsewhere.append(request.url))
    page.goto("/docs#/runs/create_run")
    page.get_by_text("Queue a whole run in a new workspace").wait_for()
    page.get_by_text("Add a test for the parser").first.wait_for()
    page.get_by_text("Schema", exact=True).first.click()
    page.get_by_text("auto_commit").first.wait_for()
    assert page.get_by_role("link", name="/openapi.json").count() == 1
    assert page.locator(".back").get_by_role("link", name="Runs").get_attribute("href") == "/", "a way back"
    assert page.get_by_role("button", name="Authorize").count() == 0, "no request is sent from here"
    background = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert background == "rgb(16, 21, 28)", "dark where the person wants it"
    # The viewer takes the name of an operation in an address for one with escaped blanks.
    assert [each for each in problems if not each.startswith("Deprecated: escaping deep link")] == []
    assert {url for url in elsewhere if not url.startswith(str(api.client.base_url))} == set()
