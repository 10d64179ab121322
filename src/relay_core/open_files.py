"""Raise the number of files that a process may have open, because the usual soft limit of 1024 is too low."""

import resource

ENOUGH = 65536
"""Open files that are enough for any process of Relay. The limit is not higher because some programs loop over all file
descriptors up to it."""


def raise_open_files() -> int:
    """Raise the soft limit of this process and its children to `ENOUGH`, or to the hard limit if that is lower.

    A soft limit that is already higher stays.

    Returns:
        The soft limit afterwards; `ENOUGH` if the process has no limit.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return ENOUGH if soft == resource.RLIM_INFINITY else soft
