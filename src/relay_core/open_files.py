"""The number of files a process may have open: raised at its start, as the usual soft limit of 1024 is for shells."""

import resource

ENOUGH = 65536
"""More than a process of Relay needs; some programs walk through all numbers up to the limit."""


def raise_open_files() -> int:
    """Raise the soft limit of this process and of what it starts, as far as the hard one lets; the limit now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH if hard == resource.RLIM_INFINITY else min(hard, ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return ENOUGH if soft == resource.RLIM_INFINITY else soft
