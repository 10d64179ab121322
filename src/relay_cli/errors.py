"""The error that ends a command with a message instead of a traceback."""


class CommandFailed(Exception):  # noqa: N818 - named for what it says
    """The command cannot go on; the message tells a person why, and what to do.

    Attributes:
        exit_code: 2 where the request has to change, else 1.
        code: `code` of the API's problem; None where the API did not refuse.
        status: HTTP status of the API's refusal; None where there was none.
    """

    def __init__(self, message: str, exit_code: int = 1, code: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.status = status
