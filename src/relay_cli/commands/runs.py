"""`relay run`: submits a run and follows it."""

from relay_cli.agent_image import agent_without_image, offer
from relay_cli.client import connect
from relay_cli.commands import run_options as option
from relay_cli.commands.pictures import attached
from relay_cli.commands.run_body import body_of
from relay_cli.commands.run_notes import Label, Metadata, Title
from relay_cli.output import Json
from relay_cli.watching import go_on
from relay_core.console.output import note


def run(
    prompt: option.Prompt = None,
    repo: option.Repo = None,
    executor: option.Executor = None,
    command: option.Command = None,
    variant: option.Variant = None,
    model: option.Model = None,
    reasoning_effort: option.ReasoningEffort = None,
    permission_mode: option.PermissionMode = None,
    branch: option.Branch = None,
    ref: option.Ref = None,
    with_changes: option.WithChanges = False,
    working_dir: option.WorkingDir = None,
    setup: option.Setup = None,
    setup_as_root: option.SetupAsRoot = False,
    parallel_setup: option.ParallelSetup = False,
    cleanup: option.Cleanup = None,
    dev_server: option.DevServer = None,
    image: option.Image = None,
    profile: option.Profile = None,
    attach: option.Attach = None,
    user: option.User = None,
    env: option.Env = None,
    env_secret: option.EnvSecret = None,
    env_plain: option.EnvPlain = None,
    secret: option.Secret = None,
    secret_in: option.SecretIn = None,
    limit: option.Limit = None,
    priority: option.Priority = None,
    needs: option.Needs = None,
    no_auto_commit: option.NoAutoCommit = False,
    no_job_file: option.NoJobFile = False,
    title: Title = None,
    label: Label = None,
    metadata: Metadata = None,
    project: option.Project = None,
    wait: option.Wait = True,
    as_json: Json = False,
) -> None:
    """Run a job on a repository: clone, setup script, agent, cleanup script, each in the workspace's container.

    Example: relay run "fix the failing test"

    Example: relay run --repo https://example.org/a.git --command 'make test'
    """
    given = dict(locals())  # the options by name: there are too many to pass them on one by one
    body = body_of(given)
    api = connect()
    agent = agent_without_image(given)
    if agent is not None and api.stack_dir is not None:
        offer(agent, api.stack_dir)
    body |= attached(api, attach)
    posted = api.call("POST", "/v1/runs", json=body)
    if posted["masked_env"]:
        note(f"masked in logs and diffs: {', '.join(posted['masked_env'])}")
    go_on(api, posted["run_id"], wait=wait, as_json=as_json)
