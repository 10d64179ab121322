"""Lines about the progress of a pull: at most one in two seconds, and numbers only."""

from relay_cli.rendering.progress import Progress, read_progress
from relay_workers.containers.docker.pull_progress import PullProgress

MIB = 1 << 20


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def downloading(layer: str, done: int, total: int) -> dict[str, object]:
    return {"status": "Downloading", "id": layer, "progressDetail": {"current": done * MIB, "total": total * MIB}}


def test_the_sum_of_the_layers_is_told_now_and_then():
    told: list[bytes] = []
    clock = Clock()
    progress = PullProgress(told.append, clock)
    progress.begin("debian:12")
    progress.take(downloading("a", 1, 10))
    clock.now = 2.5
    progress.take({"status": "\x1b[2JEvil", "id": "b"})
    progress.take(downloading("b", 5, 30))
    clock.now = 5
    progress.take({"status": "Download complete", "id": "a"})
    progress.end()
    assert told == [
        b"relay: pulling image debian:12\n",
        b"Pulling image:  10% (1/10), MiB\r",
        b"Pulling image:  37% (15/40), MiB\r",
        b"Pulling image: 100% (40/40), MiB, done.\n",
    ]
    assert read_progress(told[2].decode()) == Progress("Pulling image", 15, 40, "MiB")


def test_a_quick_pull_tells_its_beginning_only():
    told: list[bytes] = []
    progress = PullProgress(told.append, Clock())
    progress.begin("debian:12")
    progress.take(downloading("a", 10, 10))
    progress.end()
    assert told == [b"relay: pulling image debian:12\n"]
