"""The error that makes a command exit with a message instead of a traceback."""


class CommandFailed(Exception):  # noqa: N818 - named for what it says
    """Raised when a command cannot continue; the message tells a person why, and what to do.

    Attributes:
        exit_code: exit code of the command; 2 if the person has to change the request, usually 1 otherwise.
        code: `code` of the API's error answer; None if the error does not come from the API.
        status: HTTP status of the API's error answer; None if the error does not come from the API.
    """

    def __init__(self, message: str, exit_code: int = 1, code: str | None = None, *, status: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.status = status
