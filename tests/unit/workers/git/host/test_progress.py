from hypothesis import given
from hypothesis import strategies as st

from relay_workers.git.host.progress import ProgressLog

BAR = (
    b"".join(b"remote: Counting objects: %3d%%\r" % n for n in range(100))
    + b"remote: Counting objects: 100%, done.\nlast"
)


@given(st.integers(1, 200))
def test_only_the_end_of_a_quick_bar_is_told(step):
    told: list[bytes] = []
    progress = ProgressLog(told.append, clock=lambda: 0.0)
    for at in range(0, len(BAR), step):
        progress.write(BAR[at : at + step])
    progress.end()
    assert b"".join(told) == b"remote: Counting objects: 100%, done.\nlast"


def test_a_slow_bar_is_told_now_and_then():
    told: list[bytes] = []
    now = [0.0]
    progress = ProgressLog(told.append, clock=lambda: now[0])
    for second in range(20):
        now[0] = float(second)
        progress.write(b"%d\r" % second)
    assert b"".join(told) == b"5\r10\r15\r"


def test_a_line_without_an_end_is_not_kept():
    told: list[bytes] = []
    ProgressLog(told.append).write(b"x" * 70_000)
    assert len(b"".join(told)) == 70_000


def test_each_state_of_a_fetch_is_told_and_no_directory_of_the_node():
    told: list[bytes] = []
    states: list[int] = []
    progress = ProgressLog(told.append, clock=lambda: 0.0, on_state=lambda state: states.append(state.objects))
    progress.write(b"Cloning into bare repository '/data/mirrors/x'...\nReceiving objects:  33% (1/3)\rReceiving obj")
    progress.write(b"ects:  66% (2/3)\rReceiving objects: 100% (3/3), done.\n")
    assert states == [1, 2, 3]
    assert b"".join(told) == b"Receiving objects: 100% (3/3), done.\n"
