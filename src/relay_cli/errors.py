"""What ends a command with a message instead of a traceback."""


class CommandFailed(Exception):  # noqa: N818 - named for what it says
    """The command cannot go on; the message is one line for people.

    Attributes:
        exit_code: 2 for a request that has to change, else 1.
        code: of the API's problem, where the API refused.
    """

    def __init__(self, message: str, exit_code: int = 1, code: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
