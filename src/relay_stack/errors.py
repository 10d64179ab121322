"""What stops the local stack from starting; every message says what is wrong and what to do."""

from relay_core.domain.errors import RelayError


class StackProblem(RelayError):  # noqa: N818 - reads as what it says
    """The local stack cannot go on; the person at the keyboard has to act."""

    code = "stack_problem"
