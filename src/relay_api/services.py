"""What the routes use, made once per application."""

from dataclasses import dataclass
from typing import cast

from redis import Redis
from sqlalchemy import Engine
from starlette.requests import HTTPConnection

from relay_api.dispatch import ApiDispatcher
from relay_api.http.links import Links
from relay_api.metrics import Metrics
from relay_api.streaming.event_watcher import ConversationWatch, EventWatch
from relay_api.streaming.open_streams import Streams
from relay_core.domain.agents.profiles import Profiles
from relay_core.live_log.follower import LiveLogFollower
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.logs.log_store import LogStore


@dataclass(frozen=True)
class Services:
    """Connections and helpers of one application."""

    settings: Settings
    database: Engine
    redis: Redis
    """For `/healthz` only: short timeouts."""
    dispatcher: ApiDispatcher
    links: Links
    metrics: Metrics
    logs: LogStore
    live: LiveLogFollower
    events: EventWatch
    conversations: ConversationWatch
    streams: Streams
    secrets: SecretBox
    profiles: Profiles
    """Of this deployment; a project's own go over them."""


def services(connection: HTTPConnection) -> Services:
    """Those of the application that got the request."""
    return cast("Services", connection.app.state.services)
