"""Measure the masking of logs with one and with ten secrets: `python bench/masking.py [--mb 100]`."""

import argparse
import base64
import os
import random
import resource
import time

from relay_core.domain.logs.masking import Masker
from relay_core.domain.logs.secret_forms import maskable

MB = 1_000_000
FEED_BYTES = 1 << 20
"""Size of the pieces in which logs are masked, as in the capture of logs."""


def lines(size: int, ends: list[str]) -> bytes:
    """Return ``size`` bytes of log lines, each ending with a random one of ``ends``."""
    source, made, length = random.Random(1), [], 0
    while length < size:
        number = len(made)
        made.append(f"2026-01-01T00:00:{number % 60:02d} INFO request {number} {source.choice(ends)}\n".encode())
        length += len(made[-1])
    return b"".join(made)[:size]


def measured(name: str, block: bytes, secrets: tuple[bytes, ...], mb: int) -> None:
    masker = Masker(secrets)
    began, stars = time.perf_counter(), 0
    for _ in range(mb * MB // len(block)):
        for at in range(0, len(block), FEED_BYTES):
            stars += masker.feed(block[at : at + FEED_BYTES]).count(b"*")
    seconds = time.perf_counter() - began
    print(f"  {name:>28}: {mb / seconds:5.0f} MB/s, {stars:>9} bytes masked")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=100)
    mb = parser.parse_args().mb
    key = "\n".join(base64.b64encode(os.urandom(48)).decode() for _ in range(27))
    for name, values in {
        "one secret of 40 bytes": [os.urandom(20).hex()],
        "ten secrets of 40 bytes": [os.urandom(20).hex() for _ in range(10)],
        "nine, and a key of 27 lines": [key, *(os.urandom(20).hex() for _ in range(9))],
    }.items():
        began = time.perf_counter()
        secrets = maskable(values)
        Masker(secrets)
        seconds = time.perf_counter() - began
        print(f"{name}: {len(secrets)} forms, {sum(map(len, secrets)) >> 10} KiB, ready in {seconds * 1000:.0f} ms")
        measured("log lines", lines(10 * MB, ["took 17 ms"]), secrets, mb)
        measured("base64", base64.b64encode(os.urandom(7_500_000)), secrets, mb)
        measured("random bytes", os.urandom(10 * MB), secrets, mb)
        printed = [form for each in values for form in (each[:40], base64.b64encode(each.encode()).decode()[:200])]
        measured("a secret in every line", lines(10 * MB, printed), secrets, mb)
    print(f"memory at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")


if __name__ == "__main__":
    main()
