"""Questions that may never be answered: one that fails is asked again, and one that hangs is not asked twice."""

import threading

import pytest

from relay_workers.host_files.bounded_look import BoundedLook


@pytest.mark.parametrize("error", [OSError("input/output error"), ValueError("no number"), RuntimeError("broken")])
def test_after_any_error_the_next_look_asks_again(error: Exception) -> None:
    answers = [error, 7]

    def ask() -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    look = BoundedLook("test", ask)
    first = look.look()
    assert first.value is None
    assert first.problem
    assert look.look().value == 7


def test_a_question_that_hangs_is_not_asked_twice() -> None:
    go_on = threading.Event()
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        go_on.wait(20)
        return 7

    look = BoundedLook("test", ask, bound_seconds=0.05)
    assert [look.look().value for _ in range(3)] == [None] * 3
    assert len(asked) == 1
    go_on.set()
