import pytest

from relay_core.domain.git.fetch_progress import FetchPhase, FetchProgress, read_progress

RECEIVING, RESOLVING = FetchPhase.RECEIVING, FetchPhase.RESOLVING


@pytest.mark.parametrize(
    ("line", "progress"),
    [
        (b"Receiving objects:   0% (1/5000)\r", FetchProgress(RECEIVING, 1, 5000)),
        (
            b"Receiving objects:  45% (2250/5000), 1.50 MiB | 2.30 MiB/s\r",
            FetchProgress(RECEIVING, 2250, 5000, 1536 << 10),
        ),
        (
            b"Receiving objects: 100% (3/3), 250 bytes | 250.00 KiB/s, done.\n",
            FetchProgress(RECEIVING, 3, 3, 250),
        ),
        (b"Unpacking objects: 100% (3/3), 1.00 GiB | 1 KiB/s, done.\n", FetchProgress(RECEIVING, 3, 3, 1 << 30)),
        (b"Resolving deltas:  50% (5/10)\r", FetchProgress(RESOLVING, 5, 10)),
    ],
)
def test_a_state_of_git_is_read(line: bytes, progress: FetchProgress) -> None:
    assert read_progress(line) == progress


@pytest.mark.parametrize(
    "line",
    [
        b"remote: Receiving objects:  45% (2250/5000)\r",
        b"remote: Counting objects: 100% (3/3), done.\n",
        b"Receiving objects:  45% (2250/)\r",
        b"Receiving objects:  45% (" + b"9" * 400 + b"/1)\r",
        b"Cloning into bare repository",
        b"\xff\xfe",
        b"",
    ],
)
def test_other_lines_and_those_of_the_remote_tell_no_progress(line: bytes) -> None:
    assert read_progress(line) is None
