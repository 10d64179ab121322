"""The root of Relay's errors; a branch says who has to act, the message what is wrong and what to do."""


class RelayError(Exception):
    """Something went wrong in Relay."""

    code = "internal_error"
    """Stable word for programs, the `code` of a problem+json answer."""


class InvalidInput(RelayError, ValueError):  # noqa: N818 - reads as what it says
    """The request cannot be carried out as written; the caller has to change it."""

    code = "invalid_input"

    def __init__(self, message: str, *, code: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code
        self.field = field
        """Dotted path of the wrong field, where there is one."""


class NotFound(RelayError, LookupError):  # noqa: N818
    """There is no such thing, or the principal may not see it."""

    code = "not_found"


class Conflict(RelayError):  # noqa: N818
    """The present state does not allow it."""

    code = "conflict"

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code or type(self).code


class Stale(RelayError):  # noqa: N818
    """A guarded write found that the execution is no longer ours: stop, touch nothing."""

    code = "stale_fence"


class StepFailed(RelayError):  # noqa: N818
    """A step cannot go on; carries the honest end state.

    Attributes:
        reason: a `relay_core.domain.vocabulary.Reason` value.
    """

    code = "step_failed"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
