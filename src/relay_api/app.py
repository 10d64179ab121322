"""Build the FastAPI application: `create_app(settings)`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.routing import APIRoute
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from relay_api.http import openapi, problems
from relay_api.http.body_limit import BodyLimit
from relay_api.http.head import Head
from relay_api.http.links import Links
from relay_api.http.middleware import Counting, HostAllowList, SecurityHeaders
from relay_api.metrics import Metrics
from relay_api.page import router as page
from relay_api.page.unknown_path import unknown_path
from relay_api.routes import (
    admin,
    agents,
    conversations,
    delegations,
    diffs,
    directories,
    docs,
    events,
    executions,
    expiry,
    git_acts,
    git_states,
    health,
    images,
    logs,
    merges,
    migrations,
    mirrors,
    nodes,
    previews,
    profiles,
    projects,
    quarantine,
    repos,
    run_limits,
    run_records,
    runs,
    scratch,
    secrets,
    sessions,
    stored_files,
    tags,
    tasks,
    workspaces,
)
from relay_api.services import Services
from relay_api.streaming.event_watcher import ConversationWatcher, EventWatcher
from relay_api.streaming.open_streams import Streams
from relay_api.uploads import admit_upload
from relay_core.live_log.follower import LiveLogFollower
from relay_core.profile_file import load_profiles, load_session_profiles
from relay_core.queue.background import BackgroundDispatcher
from relay_core.queue.celery_app import make_app
from relay_core.queue.dispatcher import CeleryDispatcher
from relay_core.secret_box import SecretBox
from relay_core.settings import Settings
from relay_core.store.database import make_database
from relay_core.store.logs.log_store import LogStore
from relay_core.store.schema.revision import check_schema
from relay_core.store.transaction import Database
from relay_core.store.transfer.codec import MOST_BYTES

ROUTERS = (
    runs.router,
    run_records.router,
    executions.router,
    conversations.router,
    logs.router,
    sessions.router,
    profiles.router,
    agents.router,
    workspaces.router,
    git_acts.router,
    merges.router,
    git_states.router,
    previews.router,
    quarantine.router,
    diffs.router,
    expiry.router,
    delegations.router,
    events.router,
    projects.router,
    tasks.router,
    repos.router,
    mirrors.router,
    secrets.router,
    stored_files.router,
    images.router,
    tags.router,
    scratch.router,
    migrations.router,
    admin.router,
    nodes.router,
    directories.router,
    run_limits.router,
    health.router,
    docs.router,
    page.API,
    *page.PARTS,
)
DISPATCH_THREADS = 2
"""Threads that send queue messages and revokes, so that answers do not wait for Redis."""


def create_app(settings: Settings) -> FastAPI:
    """Return the application. It connects to Postgres and Redis when it starts, not in this call.

    Raises:
        SchemaMismatch: when the application starts and the database has another schema; the message says what to run.
    """
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        services = _connect(settings, metrics)
        try:
            with services.database.connect() as connection:
                check_schema(connection)
            app.state.services = services
            yield
        finally:
            services.dispatcher.close()
            await services.live.close()
            services.redis.close()
            services.database.dispose()

    # The OpenAPI document needs no token: it contains nothing that is not in the public source code.
    app = FastAPI(
        title="Relay",
        version=version("relay"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for router in ROUTERS:
        # Not `include_router`: it builds every route a second time, at the first request of each application, to add
        # what no router here has: a further prefix, dependencies, defaults.
        app.router.routes.extend(router.routes)
    _name_operations(app)
    problems.install(app, app.routes, unknown_path)
    openapi.install(app, settings)
    # Order matters: the middleware that is added last handles a request first.
    larger = _larger_bodies(settings)
    app.add_middleware(BodyLimit, max_bytes=settings.api_max_body_bytes, larger=larger, admit=admit_upload)
    app.add_middleware(HostAllowList, allowed=_host_names(settings))
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Counting, metrics=metrics)
    app.add_middleware(Head)
    return app


def _name_operations(app: FastAPI) -> None:
    """Call each operation in the OpenAPI document by the name of its function."""
    for route in app.routes:
        if isinstance(route, APIRoute):
            route.operation_id = route.unique_id = route.name


def _connect(settings: Settings, metrics: Metrics) -> Services:
    engine = make_database(settings, application="relay-api")
    dispatcher = BackgroundDispatcher(CeleryDispatcher(make_app(settings), engine), DISPATCH_THREADS)
    database = Database(engine, dispatcher, raise_seconds=settings.priority_raise_seconds)
    logs = LogStore(database)
    redis = Redis.from_url(settings.redis_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 0))
    return Services(
        settings=settings,
        database=database,
        redis=redis,
        dispatcher=dispatcher,
        links=Links(settings),
        metrics=metrics,
        logs=logs,
        live=LiveLogFollower(settings, logs),
        events=EventWatcher(database),
        conversations=ConversationWatcher(database),
        streams=Streams(settings.api_max_streams, settings.api_max_streams_per_token),
        secrets=SecretBox.of(settings),
        profiles=load_profiles(settings),
        session_profiles=load_session_profiles(settings),
    )


def _larger_bodies(settings: Settings) -> dict[tuple[str, str], int]:
    """Return the largest body in bytes of each method and path that take larger ones: base64 has 4 bytes for 3."""
    most = {"/v1/images": settings.image_max_bytes, "/v1/migrations/parts": MOST_BYTES}
    return {("POST", path): max(settings.api_max_body_bytes, size * 4 // 3 + 4096) for path, size in most.items()}


def _host_names(settings: Settings) -> list[str]:
    public = urlsplit(settings.api_public_url or "").hostname
    return [*settings.api_allowed_hosts, *([public] if public else [])]
