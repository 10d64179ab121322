"""`relay status`: the processes of the local stack."""

import json

from relay_cli.errors import CommandFailed
from relay_cli.output import Json
from relay_core.data_dir import own_data_dir
from relay_stack.status import current_state


def status(as_json: Json = False) -> None:
    """Show the processes of the stack and their addresses."""
    state = current_state(own_data_dir())
    if state is None:
        raise CommandFailed("no local stack is up; start one with `relay up`")
    if as_json:
        print(json.dumps(state.public(), indent=2))
        return
    print(f"API     {state.api_url}  (docs: {state.api_url}/docs)")
    print(f"Flower  {state.flower_url}  (user {state.flower_user}; password: relay status --json)")
    for process in state.processes:
        print(f"{process.name:<10}{process.state}  pid {process.pid or '-'}")
