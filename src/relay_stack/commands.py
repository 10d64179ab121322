"""The local stack for other programs: `python -m relay_stack …` (people use `relay`).

`supervise DATA_DIR DOCKER_HOST FD`  runs the stack; reports the progress of its start on the inherited file descriptor
                                     FD
`prepare`                            for the tests: starts or installs engine, images, browser, busybox and bindfs if
                                     missing, and prints the engine's address
`remember`                           records Relay's containers that exist now
`release`                            removes containers that were created after `remember` and mount a folder that no
                                     longer exists; then stops the stack of this data directory, removes its
                                     containers, and stops the engine if Relay started it
"""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import docker

from relay_core.console.output import note
from relay_core.domain.errors import RelayError
from relay_stack.down import take_down
from relay_stack.errors import StackProblem
from relay_stack.files.local_settings import data_dir_of_settings
from relay_stack.machine.browser import ensure_browser
from relay_stack.machine.consent import Consent
from relay_stack.machine.container_engine import Engine, find_engine
from relay_stack.machine.leftovers import remember_present, remove_new
from relay_stack.machine.programs_of_tests import ensure_test_programs
from relay_stack.services.supervisor import StartReporter, supervise
from relay_stack.start import prepare_machine


def main(arguments: list[str]) -> int:
    """Run one of the subcommands and return the exit code."""
    try:
        match arguments:
            case ["supervise", data_dir, docker_host, descriptor]:
                return _supervise(Path(data_dir), docker_host, int(descriptor))
            case ["prepare"]:
                print(_prepare(data_dir_of_settings(), Consent(yes=True)))
                return 0
            case ["remember"]:
                return _with_engine(remember_present)
            case ["release"]:
                code = _with_engine(remove_new)
                take_down(data_dir_of_settings(), everything=True)
                return code
    except RelayError as error:
        print(f"relay: {error}", file=sys.stderr)
        return 1
    print(__doc__, file=sys.stderr)
    return 2


def _prepare(data_dir: Path, consent: Consent) -> str:
    machine = prepare_machine(data_dir, consent, common_names=True)
    for ensure in (ensure_browser, ensure_test_programs):
        try:
            ensure(data_dir, consent)
        except StackProblem as problem:  # without it, only the tests that need it fail
            note(str(problem))
    return machine.engine.host


def _with_engine(act: Callable[[docker.DockerClient, Path], object]) -> int:
    """Call `act` with a client of the engine and the data directory; do nothing if there is no engine. Return 0."""
    found = find_engine()
    if isinstance(found, Engine):
        client = found.client()
        act(client, data_dir_of_settings())
        client.close()
    return 0


def _supervise(data_dir: Path, docker_host: str, descriptor: int) -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log each poll of a starting process
    with os.fdopen(descriptor, "w") as pipe:
        return 0 if supervise(data_dir, docker_host, StartReporter(pipe)) else 1
