"""The error of the local stack. Its message says what is wrong and what to do."""

from relay_core.domain.errors import RelayError


class StackProblem(RelayError):  # noqa: N818 - reads as what it says
    """Raised when the local stack cannot continue until a person changes the machine or the environment variables."""

    code = "stack_problem"
