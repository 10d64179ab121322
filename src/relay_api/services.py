"""Connections and helpers of the routes, made once per application."""

from dataclasses import dataclass
from typing import cast

from redis import Redis
from starlette.requests import HTTPConnection

from relay_api.http.links import Links
from relay_api.metrics import Metrics
from relay_api.streaming.event_watcher import ConversationWatcher, EventWatcher
from relay_api.streaming.open_streams import Streams
from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.session_profiles import SessionProfiles
from relay_core.live_log.follower import LiveLogFollower
from relay_core.queue.background import BackgroundDispatcher
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.logs.log_store import LogStore
from relay_core.store.transaction import Database


@dataclass(frozen=True)
class Services:
    """The connections and helpers of one application; routes get this object as a parameter."""

    settings: Settings
    database: Database
    redis: Redis
    """Client for `/healthz` only, with short time-outs."""
    dispatcher: BackgroundDispatcher
    """Sends the queue messages and revokes that transactions of `database` cause, while the answer is returned."""
    links: Links
    metrics: Metrics
    logs: LogStore
    live: LiveLogFollower
    events: EventWatcher
    conversations: ConversationWatcher
    streams: Streams
    secrets: SecretBox
    profiles: Profiles
    """Agent profiles of this deployment; the profiles of a project override them."""
    session_profiles: SessionProfiles
    """Templates of sessions and terminals, by name."""


def services(connection: HTTPConnection) -> Services:
    """Return the services of the application that received the request."""
    return cast("Services", connection.app.state.services)


async def services_of(connection: HTTPConnection) -> Services:
    """Return `services`, as a dependency. FastAPI would call a plain function in another thread, which costs more."""
    return services(connection)
