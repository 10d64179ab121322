"""Requests of nodes about themselves, as they or an administrator send them, and claims of their workers."""

from uuid import UUID

from sqlalchemy import text

from relay_core.store.executions.claim import Claimant, Claimed, NotClaimed, claim
from relay_core.store.transaction import Database
from tests.support.api_fixtures import Api


def attach(api: Api, node: str = "n1", version: str = "1.1", pool: str = "default", **more):
    body = {"protocol_version": version, "pool": pool, **more}
    return api.post(f"/v1/nodes/{node}/attach", body, "admin")


def beat(api: Api, node: str = "n1", health: str = "online", **more):
    return api.post(f"/v1/nodes/{node}/heartbeat", {"health": health, **more}, "admin")


def declare(api: Api, node: str = "n1", who: str = "admin", **body):
    return api.client.patch(f"/v1/nodes/{node}/capabilities", json=body, headers=api.as_(who))


def detach(api: Api, node: str = "n1", **body):
    return api.post(f"/v1/nodes/{node}/detach", body or None, "admin")


def floor(api: Api, version: str | None, pool: str = "default"):
    return api.client.put(f"/v1/pools/{pool}", json={"min_protocol_version": version}, headers=api.as_("admin"))


def node_of(api: Api, node: str = "n1") -> dict:
    return api.get(f"/v1/nodes/{node}").json()


def online(api: Api, node: str = "n1", **more) -> dict:
    assert attach(api, node, **more).status_code == 200
    assert beat(api, node).status_code == 204
    return node_of(api, node)


def take(db: Database, execution_id: str, node: str = "n1") -> Claimed | NotClaimed:
    with db.begin() as connection:
        return claim(connection, UUID(execution_id), 1, Claimant(f"w1@{node}", node, "default", 30))


def rows(db: Database, *tables: str) -> list:
    with db.connect() as connection:
        return [connection.scalars(text(f"SELECT t::text FROM {table} t ORDER BY 1")).all() for table in tables]
