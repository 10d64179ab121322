"""Raises the number of files that a process may have open, as the usual soft limit of 1024 is too low."""

import resource

ENOUGH = 65536
"""Open files that are enough for any process of Relay. Some programs loop over all numbers up to the limit."""


def raise_open_files() -> int:
    """Raise the soft limit of this process and its children to `ENOUGH`, or to the hard limit below it.

    Returns:
        The soft limit now; `ENOUGH` where there is none.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return ENOUGH if soft == resource.RLIM_INFINITY else soft
