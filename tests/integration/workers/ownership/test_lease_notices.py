"""A worker that waits for notices renews its lease at once, also after it had to connect again."""

import threading

from sqlalchemy import text

from relay_core.store.executions import notices
from relay_core.store.transaction import Database
from relay_workers.ownership import lease_notices
from relay_workers.ownership.lease_notices import LeaseNotices

OWNER = "w1@node-1#1"
END_LISTENERS = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND query LIKE 'LISTEN %' AND pid <> pg_backend_pid()"
)


def test_a_notice_makes_a_renewal_due_and_a_lost_connection_is_made_again(database: Database, monkeypatch) -> None:
    monkeypatch.setattr(lease_notices, "AGAIN_SECONDS", 0.05)
    due = threading.Event()

    def wait_until_due() -> None:
        assert due.wait(30)
        due.clear()

    listener = LeaseNotices(database, OWNER, due.set)
    listener.start()
    wait_until_due()  # for what happened before it listened
    for _ in range(2):
        with database.begin() as connection:
            notices.notify(connection, ["w2@node-1#1", OWNER])
        wait_until_due()
        with database.begin() as connection:
            assert connection.scalar(END_LISTENERS) == 1
        wait_until_due()
    monkeypatch.setattr(lease_notices, "AGAIN_SECONDS", 3600.0)
    with database.begin() as connection:
        assert connection.scalar(END_LISTENERS) == 1
