"""A headless Chromium, and what a hostile agent would write where the page shows its words."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from playwright.sync_api import Browser, Page, sync_playwright

from relay_stack.machine.browser import find_browser
from tests.support.own_network import OwnNetwork

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}

ATTACK = (
    "<script>window.owned=1</script><img src=x onerror=window.owned=1><svg/onload=window.owned=1>"
    "\"'><b onmouseover=window.owned=1 hx-get=/fleet hx-trigger=load>{{7*7}}${7*7}</b>"
    "<a href='javascript:window.owned=1'>x</a></textarea></title></style><iframe srcdoc='<script>top.owned=1</script>'>"
)
"""One text with the usual ways to run a script in a page."""


@contextmanager
def chromium() -> Iterator[Browser]:
    path = find_browser()
    assert path, "no Chromium is installed: run scripts/test, or apt-get install chromium-headless-shell"
    with closing(OwnNetwork()) as network:
        with network.inside():
            playwright = sync_playwright().start()
            proxy = {"server": network.proxy_url, "bypass": "<-loopback>"}
            browser = playwright.chromium.launch(executable_path=path, proxy=proxy)
        yield browser
        browser.close()
        playwright.stop()


def open_page(browser: Browser, url: str, viewport: dict[str, int] = WIDE, **options: object) -> Page:
    """A page of a new context that fails its test if a script of another is refused or breaks."""
    page = browser.new_context(viewport=viewport, base_url=url, **options).new_page()
    page.set_default_timeout(60_000)
    return page


def sign_in(page: Page, token: str) -> None:
    page.goto("/")
    page.fill("#secret", token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_selector(".top nav")


def scrolls_sideways(page: Page) -> bool:
    return page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
