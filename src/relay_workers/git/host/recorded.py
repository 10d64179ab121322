"""Takes a state that another node recorded into the store of a clone, from a git bundle.

The bundle has passed through clients, so it is trusted no more than a pack of the git container.
"""

import re
import tempfile

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_core.settings import Settings
from relay_workers.git.act_requests import RestoreRequest
from relay_workers.git.host.process import DeadlinePassed
from relay_workers.git.host.store import Store

_HEADER = re.compile(rb"# v2 git bundle\n(?:-[0-9a-f]{40}[^\n]*\n)*(?:[0-9a-f]{40} [^\n]*\n)*\n")


def take_recorded(settings: Settings, request: RestoreRequest) -> None:
    """Let the store of a clone have the commit of a request, and keep it.

    Args:
        settings: settings of the worker.
        request: the commit, and a bundle that has it.

    Raises:
        StepFailed: reason ``clone_failed``: the bundle is damaged or too large, or neither it nor the mirror has the
            commit.
    """
    clone = request.reset
    store = Store(settings, request.workspace_id, clone.name)
    store.prepare(clone.mirror_path)
    try:
        if request.bundle is not None and not store.has(clone.commit):
            _unbundle(store, request.bundle)
        _check_there(store, clone.commit)
        store.pin(request.pin, clone.commit)
    except DeadlinePassed as error:
        raise StepFailed(Reason.CLONE_FAILED, "git took too long to read the bundle") from error
    except StepFailed as error:
        message = f"the state of repos/{clone.name} cannot be brought back: {error}"
        raise StepFailed(Reason.CLONE_FAILED, message) from error


def _check_there(store: Store, commit: str) -> None:
    if not store.has(commit):
        raise StepFailed(Reason.CLONE_FAILED, f"neither the bundle nor the remote has the commit {commit}")


def _unbundle(store: Store, bundle: bytes) -> None:
    header = _HEADER.match(bundle)
    if header is None:
        raise StepFailed(Reason.CLONE_FAILED, "it is no git bundle of version 2")
    with tempfile.TemporaryFile() as pack:
        pack.write(bundle[header.end() :])
        pack.seek(0)
        store.import_pack(pack.fileno())
