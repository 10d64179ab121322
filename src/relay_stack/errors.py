"""The error of the local stack. Its message says what is wrong and what to do."""

from relay_core.domain.errors import RelayError


class StackProblem(RelayError):  # noqa: N818 - reads as what it says
    """The local stack cannot go on until a person has changed something on the machine or in the environment."""

    code = "stack_problem"
