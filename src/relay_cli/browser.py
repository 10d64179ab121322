"""Open a page in the person's browser, or print its address."""

import os
import sys
import webbrowser


def show_page(url: str, *, only_print: bool = False) -> None:
    """Print the address on standard output, and open it in a browser if there is a screen to show one on.

    Args:
        url: address of the page.
        only_print: do not open a browser.
    """
    print(url)
    screen = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if screen and not only_print:
        webbrowser.open(url)
