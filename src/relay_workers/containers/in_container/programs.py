"""The two programs that Relay mounts into every workspace container, as machine code.

They are assembled from `pid1.S` and `dial.S` and kept here as bytes, so that a node needs no assembler. A test
(tests/unit/workers/containers/in_container/test_programs.py) assembles the sources again and compares. They exist for
x86_64 and aarch64. On other architectures `IDLE_SHELL` runs as PID 1, and a server that listens only on a container's
loopback interface cannot be reached.
"""

import base64
import platform

IDLE_SHELL = ("/bin/sh", "-c", "while :; do sleep 2147483647; done")
"""The command of PID 1 on other architectures.

It cannot be killed from inside the container, and it reaps orphaned processes. It is weaker than the program: a step
that runs as root can trace it, and it exits if a root step kills all of root's processes at the pids limit, because a
shell that cannot fork exits.
"""

_PID1 = {
    "x86_64": base64.b64decode(
        "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAsABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAACAAAAAAAAAAEAAAAFAAAAAAAA"
        "AAAAAAAAAEAAAAAAAAAAQAAAAAAAEAEAAAAAAAAQAQAAAAAAAAAAAQAAAAAAUeV0ZAYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAAC4nQAAAL8EAAAAMfYPBbgNAAAAvxEAAABIjTUhAAAAMdJBuggAAAAPBbgPAQAAMf8x"
        "9jHSRTHSRTHADwXr6wAAAQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    ),
    "aarch64": base64.b64decode(
        "f0VMRgIBAQAAAAAAAAAAAAIAtwABAAAAsABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAACAAAAAAAAAAEAAAAFAAAAAAAA"
        "AAAAAAAAAEAAAAAAAAAAQAAAAAAAGAEAAAAAAAAYAQAAAAAAAAAAAQAAAAAAUeV0ZAYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAADoFIDSgACA0gEAgNIBAADUyBCA0iACgNKBAQAQAgCA0gMBgNIBAADUKAmA0gAAgNIB"
        "AIDSAgCA0gMAgNIEAIDSAQAA1Pn//xcBAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="
    ),
}

_DIAL = {
    "x86_64": base64.b64decode(
        "f0VMRgIBAQAAAAAAAAAAAAIAPgABAAAAsABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAACAAAAAAAAAAEAAAAFAAAAAAAA"
        "AAAAAAAAAEAAAAAAAAAAQAAAAAAAVgIAAAAAAABWAgAAAAAAAAAAAQAAAAAAUeV0ZAYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAABEizwkSIt0JBAx2w+2BoXAdA2D6DBr2woBw0j/xuvsZsHDCEiB7AAAAwC4KQAAAL8C"
        "AAAAvgEAAAAx0g8FhcB4NUGJxGbHBCQCAGaJXCQCx0QkBH8AAAFIx0QkCAAAAAC4KgAAAESJ50iJ5roQAAAADwWFwHRouCkAAAC/"
        "CgAAAL4BAAAAMdIPBYXAeEdBicRIxwQkCgAAAGaJXCQCSMdEJAgAAAAAx0QkEAAAAADHRCQUAAAAAcdEJBgAAAAAuCoAAABEiedI"
        "iea6HAAAAA8FhcB0Cr8BAAAA6cEAAABBg/8CD4W1AAAAuDgAAAC/AA8FAEiNtCQAAAIAMdJFMdJFMcAPBYXAeMx0FUWJ5UG+AQAA"
        "AEiJ5UiNHYAAAADrFUUx7UWJ5kiNrCQAAP//SI0dNQAAADHARInvSInuugAAAQAPBUiFwH4fSYnCuAEAAABEifdMidIPBUiFwH4K"
        "SAHGSSnCdebrzf/juDAAAABEiee+AQAAAA8FuA8BAAAx/zH2SMcEJDwAAABIx0QkCAAAAABIieJFMdJFMcAPBTH/uOcAAAAPBQ=="
    ),
    "aarch64": base64.b64decode(
        "f0VMRgIBAQAAAAAAAAAAAAIAtwABAAAAsABAAAAAAABAAAAAAAAAAAAAAAAAAAAAAAAAAEAAOAACAAAAAAAAAAEAAAAFAAAAAAAA"
        "AAAAAAAAAEAAAAAAAAAAQAAAAAAAdAIAAAAAAAB0AgAAAAAAAAAAAQAAAAAAUeV0ZAYAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
        "AAAAAAAAAAAAAAAAAAAAAAAAEAAAAAAAAADzA0C54QtA+RQAgFJCAYBSIBRAOIAAADQAwABRlAICG/z//xeUBsBa/8NA0cgYgNJA"
        "AIDSIQCA0gIAgNIBAADU4AH4N/UDACpDAIBS4wMAefQHAHnjD4BSAyCgcuMHALn/BwD5aBmA0uADFSrhAwCRAgKA0gEAANQAAwA0"
        "yBiA0kABgNIhAIDSAgCA0gEAANQAAvg39QMAKkMBgNLjAwD59AcAef8HAPn/EwC5AyCgUuMXALn/GwC5aBmA0uADFSrhAwCRggOA"
        "0gEAANRgAAA0IACA0joAABR/CgBx4QYAVIgbgNIA4IHSoACg8uGDQJECAIDSAwCA0gQAgNIBAADUgP7/N8AAADT2AxUqNwCAUvgD"
        "AJE5BQAQBQAAFBYAgFL3AxUq+ENA0dkCABDoB4DS4AMWKuEDGKoiAKDSAQAA1B8AAPHNAQBU+gMAqvsDGKoICIDS4AMXKuEDG6ri"
        "AxqqAQAA1B8AAPGtAABUewMAi1oDAOvh/v9U7f//FyADH9ZIGoDS4AMVKiEAgNIBAADUKAmA0gAAgNIBAIDSgweA0uMDAPn/BwD5"
        "4gMAkQMAgNIEAIDSAQAA1AAAgNLIC4DSAQAA1A=="
    ),
}


def pid1(machine: str | None = None) -> bytes | None:
    """Return the program that runs idle as PID 1; None if there is none for the architecture.

    Args:
        machine: the architecture as printed by ``uname -m``; None for this host's.
    """
    return _PID1.get(machine or platform.machine())


def dial(machine: str | None = None) -> bytes | None:
    """Return the program that connects its stdin and stdout to a loopback port; None if the architecture has none.

    Args:
        machine: the architecture as printed by ``uname -m``; None for this host's.
    """
    return _DIAL.get(machine or platform.machine())
