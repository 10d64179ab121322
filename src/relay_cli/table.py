"""The commands of `relay`, in the order of its help text. To add one, write its line here."""

from relay_cli.lazy import Entry

_RUNS, _WORKSPACES, _STACK, _SETTINGS = "Runs", "Workspaces", "This machine", "Server"
_AT = "relay_cli.commands."

ENTRIES = (
    Entry(
        "run",
        f"{_AT}runs:run",
        "Run a job on a repository: clone, setup script, agent, cleanup script, each in the workspace's container.",
        _RUNS,
    ),
    Entry(
        "ps",
        f"{_AT}run_list:ps",
        "List runs, newest first: those that are queued or running, and the newest of the others.",
        _RUNS,
    ),
    Entry(
        "show",
        f"{_AT}run_show:show",
        "Show a run: what it is, its steps with their times, how it ended and what to do; or one step, by its id.",
        _RUNS,
    ),
    Entry(
        "logs",
        f"{_AT}logs:logs",
        "Print the log of a step. Of a run, this is its agent, or the step that failed before it.",
        _RUNS,
    ),
    Entry(
        "watch",
        f"{_AT}run_control:watch",
        "Show a run from its beginning until it ends, as `relay run` does, and exit with its exit code.",
        _RUNS,
    ),
    Entry(
        "wait",
        f"{_AT}run_control:wait",
        "Wait until runs have ended, without showing their logs; print how each ended.",
        _RUNS,
    ),
    Entry(
        "cancel",
        f"{_AT}run_control:cancel",
        "Cancel a run: kill its running step, and start none of those that would follow. Its workspace stays.",
        _RUNS,
    ),
    Entry("rerun", f"{_AT}run_control:rerun", "Run a job again, as a new run.", _RUNS),
    Entry("kill", f"{_AT}executions:kill", "Kill an execution and all its processes.", _RUNS),
    Entry(
        "diff",
        f"{_AT}executions:diff",
        "Print what a run, a workspace or one execution changed, as a patch for `git apply`.",
        _RUNS,
    ),
    Entry("fetch", f"{_AT}results:fetch", "Get the commits of a run as a branch of the local clone.", _RUNS),
    Entry(
        "push",
        f"{_AT}results:push",
        "Get the commits of a run as a branch of the local clone, and push it with your own git.",
        _RUNS,
    ),
    Entry(
        "apply",
        f"{_AT}results:apply",
        "Apply the changes of a run to the work tree of the local clone: all of them, or none.",
        _RUNS,
    ),
    Entry("follow-up", f"{_AT}sessions:follow_up", "Send an agent another message.", _RUNS),
    Entry(
        "retry",
        f"{_AT}workspaces:retry",
        "Repeat a failed or killed execution in its workspace, and run the steps that follow it.",
        _RUNS,
    ),
    Entry(
        "init",
        f"{_AT}job_file:init",
        "Write a job file, relay.toml, by looking at the files of a repository.",
        _RUNS,
    ),
    Entry("lint", f"{_AT}job_file:lint", "Check the job file of a repository.", _RUNS),
    Entry(
        "serve",
        f"{_AT}serve:serve",
        "Start the dev server of a workspace, wait until it answers, and print its address.",
        _RUNS,
    ),
    Entry(
        "open",
        f"{_AT}open_page:open_page",
        "Open the page of a run, or of all runs, in the browser, and print its address.",
        _RUNS,
    ),
    Entry(
        "events",
        f"{_AT}events:events",
        "Print events in their order: time, workspace, step, kind and what happened.",
        _RUNS,
    ),
    Entry("step", f"{_AT}steps:step", "Further steps in a workspace.", _WORKSPACES),
    Entry(
        "workspace",
        f"{_AT}workspace_group:workspace",
        "Workspaces: the branch, clones and container in which the steps of a run work.",
        _WORKSPACES,
    ),
    Entry(
        "project",
        f"{_AT}projects:project",
        "Projects: repositories that belong together, and their settings.",
        _WORKSPACES,
    ),
    Entry(
        "mirrors",
        f"{_AT}mirrors:mirrors",
        "Git mirrors: what the nodes have of the remotes of your projects.",
        _WORKSPACES,
    ),
    Entry("task", f"{_AT}tasks:task", "Tasks: units of work. Each workspace is one attempt at a task.", _WORKSPACES),
    Entry(
        "sessions",
        f"{_AT}sessions:sessions",
        "List the sessions of a workspace; each is one conversation with an agent.",
        _WORKSPACES,
    ),
    Entry(
        "stop",
        f"{_AT}workspaces:stop",
        "Kill the running executions of a workspace and stop its container.",
        _WORKSPACES,
    ),
    Entry(
        "resume",
        f"{_AT}workspaces:resume",
        "Start the container of a stopped workspace again, and let its queued executions run.",
        _WORKSPACES,
    ),
    Entry(
        "up",
        f"{_AT}stack:up",
        "Start database, queue, API, worker and Flower on this machine. Ctrl-C stops them.",
        _STACK,
    ),
    Entry("down", f"{_AT}stack:down", "Stop the stack. Its data stays.", _STACK),
    Entry("status", f"{_AT}status:status", "Show the processes of the stack and their addresses.", _STACK),
    Entry(
        "doctor",
        f"{_AT}doctor:doctor",
        "Check the services, this node and its work, and show what the worker's periodic checks would repair.",
        _STACK,
    ),
    Entry("image", f"{_AT}images:image", "Images with coding agents, for the containers of workspaces.", _STACK),
    Entry("db", f"{_AT}database:db", "Schema of the database.", _STACK),
    Entry("agents", f"{_AT}agents:agents", "Agents that a run can name, and their variants (profiles).", _SETTINGS),
    Entry("secret", f"{_AT}secrets:secret", "Secrets of a project. Its runs get them by name.", _SETTINGS),
    Entry("token", f"{_AT}tokens:tokens", "Bearer tokens for the API.", _SETTINGS),
    Entry("nodes", f"{_AT}nodes:nodes", "List the nodes that run jobs, with their health.", _SETTINGS),
    Entry(
        "drain",
        f"{_AT}nodes:drain",
        "Stop a node from taking new workspaces. The workspaces that it has already continue.",
        _SETTINGS,
    ),
    Entry("undrain", f"{_AT}nodes:undrain", "Let a node take new workspaces again.", _SETTINGS),
)
