"""The Celery app for Flower (``celery -A relay_core.queue.flower_app:app flower``), with changes that harden Flower.

By itself, Flower sends no header against framing, shows ``/metrics`` without a login, and answers a user name that is
not ASCII with 500. Nor does it turn the address in a task's result into a link. Flower has no settings for that, so
importing this module changes its handlers before it makes its routes; tests/acceptance/flower checks a running Flower.
"""

import re
from typing import Any

import tornado.web
from celery import Celery
from flower.views import BaseHandler
from flower.views.monitor import Metrics
from flower.views.tasks import TaskView

from relay_core.queue.celery_app import make_app
from relay_core.settings import get_settings

HEADERS = {
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


def harden() -> None:
    """Patch Flower's handlers in this process: security headers, login for `/metrics`, 401 for a non-ASCII user name.

    Call it once.
    """
    set_default_headers, get_current_user = BaseHandler.set_default_headers, BaseHandler.get_current_user

    def with_headers(handler: Any) -> None:
        set_default_headers(handler)
        for name, value in HEADERS.items():
            handler.set_header(name, value)

    def current_user(handler: Any) -> Any:
        try:
            return get_current_user(handler)
        except TypeError as error:  # hmac compares ASCII text only
            raise tornado.web.HTTPError(401) from error

    BaseHandler.set_default_headers = with_headers
    BaseHandler.get_current_user = current_user
    Metrics.get = tornado.web.authenticated(Metrics.get)


def link_results(api_url: str) -> None:
    """Patch Flower's page of a task in this process: the address of a run or execution of Relay becomes a link.

    Call it once.

    Args:
        api_url: URL of the API, which is the beginning of such an address.
    """
    render_string = TaskView.render_string
    address = re.compile(re.escape(api_url.rstrip("/")).encode() + rb"/(?:executions|runs)/[0-9a-f-]{36}\b")

    def with_links(handler: Any, template_name: str, **values: Any) -> bytes:
        page: bytes = render_string(handler, template_name, **values)
        return address.sub(lambda found: b'<a href="%s" rel="noreferrer">%s</a>' % (found[0], found[0]), page)

    TaskView.render_string = with_links


def _app() -> Celery:
    settings = get_settings()
    harden()
    if settings.api_public_url:
        link_results(settings.api_public_url)
    return make_app(settings)


app = _app()
