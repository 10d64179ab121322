"""Since when each clock of a worker has not run through, as its page says."""

import re

from tests.support.plain_http import PLAIN

VITAL = ("heartbeat", "leases", "sweeps", "admission", "adoption")


def clock_ages(url: str) -> dict[str, float]:
    found = re.findall(r'relay_clock_age_seconds\{clock="(\w+)"\} (\S+)', PLAIN.get(f"{url}/metrics").text)
    return {name: float(age) for name, age in found}
