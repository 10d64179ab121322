"""The browser of these tests is not disturbed by the networks of containers that come and go beside it."""

import subprocess
import threading

from playwright.sync_api import Browser

from tests.support.api_fixtures import Api
from tests.support.browser_fixtures import WIDE, open_page, sign_in


def test_addresses_that_come_and_go_end_no_request(api: Api, browser: Browser):
    page = open_page(browser, f"http://localhost:{api.client.base_url.port}", WIDE)
    sign_in(page, api.tokens["ann"])
    done = threading.Event()

    def change_addresses() -> None:
        while not done.is_set():
            subprocess.run(["ip", "address", "add", "198.51.100.77/32", "dev", "lo"], check=True)
            subprocess.run(["ip", "address", "del", "198.51.100.77/32", "dev", "lo"], check=True)

    changes = threading.Thread(target=change_addresses)
    changes.start()
    try:
        for _ in range(20):
            page.goto("/")
    finally:
        done.set()
        changes.join()
    page.context.close()
