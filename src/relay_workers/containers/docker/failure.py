"""Translates failures of the Docker API into Relay's errors, by texts recorded from Docker Engine 20.10.24 and 28.2.

There are three kinds. A failure that repeating the request does not fix makes the step fail (`StepFailed` with a
reason). A failure of the engine itself becomes `EngineUnavailable`. If there is no answer at all, `EngineUnavailable`
is marked as silent: the engine is probably restarting, and `RetryWhileSilent` waits for it. An answer with an unknown
text counts as a failure of the engine, because that makes no statement about the step.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import requests
from docker.errors import APIError, DockerException

from relay_core.domain.errors import RelayError, StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.containers.port import EngineUnavailable

_CONTAINER_GONE = ("no such container", "marked for removal")
"""With any status: a restart of such a container is answered with 500."""
_IMAGE_GONE = ("no such image", "pull access denied", "manifest unknown", "repository does not exist")
_DISK_FULL = ("no space left on device", "disk quota exceeded")
_RESTARTING = (
    "containerd.sock",
    "transport is closing",
    "context canceled",
    "shutting down",
    "error reading from server",
)
"""Parts of the error texts of an engine whose containerd is stopping or not started yet."""
_NOT_ALLOWED = ("permission denied", "operation not permitted", "unauthorized")


def classify_failure(status: int | None, text: str) -> RelayError:
    """Return the error to raise for a failed request.

    Args:
        status: the HTTP status of the response; None if there was no response.
        text: the engine's explanation, or the error of the connection.
    """
    if status is None:
        return _no_answer(text)
    said = f"the container engine says: {text.strip() or 'nothing'}"
    reason = _reason(status, text.lower())
    if reason is None:
        restarted = start_was_interrupted(text) or any(words in text.lower() for words in _RESTARTING)
        silent = status >= 500 and restarted
        return EngineUnavailable(f"{said} (status {status})", retryable=True, silent=silent)
    return StepFailed(reason, f"{said}; free space on this node" if reason is Reason.DISK_PRESSURE else said)


def _reason(status: int, text: str) -> Reason | None:
    """Return the reason why the step fails; None if the engine itself failed."""
    told = (
        (any(words in text for words in _DISK_FULL), Reason.DISK_PRESSURE),
        (any(words in text for words in _CONTAINER_GONE), Reason.CONTAINER_MISSING),
        (status in {404, 409} and "is not running" in text, Reason.CONTAINER_MISSING),
        # Not every engine reports this when a detached exec is started: see `RunDir.has_started`.
        ("oci runtime exec failed" in text, Reason.START_FAILED),
        (any(words in text for words in _IMAGE_GONE), Reason.IMAGE_UNAVAILABLE),
        (status in {400, 403, 404, 409} or "oci runtime create failed" in text, Reason.ENGINE_ERROR),
    )
    return next((reason for holds, reason in told if holds), None)


def refuses_file_limit(text: str) -> bool:
    """Return whether a start failed because the engine may not set the number of open files.

    The text is that of runc 1.1; 7 is the number of RLIMIT_NOFILE.
    """
    return "error setting rlimit type 7" in text.lower()


def start_was_interrupted(text: str) -> bool:
    """Return whether a start failed because the engine died during an earlier start of the same container.

    The texts are those of Docker Engine 20.10 after dockerd was killed: containerd still has the task of that start,
    or only its record of the container ("id already in use").
    """
    return ("task " in text and "already exists" in text) or "id already in use" in text


def _no_answer(text: str) -> EngineUnavailable:
    if any(words in text.lower() for words in _NOT_ALLOWED):
        message = f"may not use the container engine ({text}); add this account to the group that owns its socket"
        return EngineUnavailable(message, retryable=False)
    message = f"the container engine does not answer ({text}); is it running?"
    return EngineUnavailable(message, retryable=True, silent=True)


@contextmanager
def translated() -> Iterator[None]:
    """Translate errors raised in the ``with`` block by the Docker SDK, requests or sockets into Relay's errors.

    The original error stays attached as the cause.
    """
    try:
        yield
    except APIError as error:
        status = error.response.status_code if error.response is not None else None
        raise classify_failure(status, str(error.explanation or error)) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise classify_failure(None, str(error)) from error
