"""A profile of the processor time of all threads of a process."""

import cProfile
import pstats
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def profiled_threads(path: Path) -> Iterator[None]:
    """Profile the threads that start within the context, and at its end write their profile into a file.

    Only processor time counts, so that threads that wait cost nothing. Threads that are still running are left out.
    """
    run = threading.Thread.run
    profiles: list[cProfile.Profile] = []

    def profiled(thread: threading.Thread) -> None:
        profile = cProfile.Profile(time.thread_time)
        profiles.append(profile)
        profile.runcall(run, thread)

    threading.Thread.run = profiled  # type: ignore[method-assign]
    try:
        yield
    finally:
        threading.Thread.run = run  # type: ignore[method-assign]
        stats = [pstats.Stats(profile) for profile in profiles if profile.getstats()]
        total = stats[0]
        for one in stats[1:]:
            total.add(one)
        total.dump_stats(path)
