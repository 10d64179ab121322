"""A task in Flower leads to its run on Relay's page, and a step there leads back, in a real browser."""

import pytest
from playwright.sync_api import expect

from tests.support.browser_fixtures import chromium
from tests.support.flower import PASSWORD, USER, Flower, celery_id
from tests.support.relay import Relay

pytestmark = pytest.mark.docker


def test_from_flower_to_the_page_and_back(relay: Relay, repo, flower: Flower):
    run = relay.submit(repo, "echo more >> notes.txt", title="Write a note")
    agent = relay.wait_chain(run)[-1]["id"]
    flower.shown(agent, "SUCCESS")
    with chromium() as browser:
        context = browser.new_context(http_credentials={"username": USER, "password": PASSWORD, "origin": flower.url})
        page = context.new_page()
        page.goto(f"{flower.url}/task/{celery_id(agent)}")
        page.get_by_role("link", name=f"/runs/{run['run_id']}").click()
        page.wait_for_selector("#secret")
        page.fill("#secret", relay.token)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("#head h1")).to_contain_text("Write a note")
        expect(page.locator("#head .clocks ins")).to_have_text("+1")
        page.goto(f"{page.url}/changes")
        expect(page.locator("tr.add")).to_have_text(["+more"])
        context.close()
