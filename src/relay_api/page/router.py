"""All routes of the page."""

from relay_api.page import changes, conversation, fleet, log, runs, sign_in, static_files, tasks

PARTS = (
    sign_in.router,
    static_files.router,
    runs.router,
    log.router,
    conversation.router,
    changes.router,
    tasks.router,
    fleet.router,
)
"""Routers of the page, none of which is in the OpenAPI document."""
API = sign_in.api_router
"""The routes that the page adds to the API."""
