"""The settings of a run, completed from the job files of its repositories: request over file over project over repo.

`sources` says where each value came from. Its keys are `image`, `executor`, `agent_working_dir`, `limits.NAME` and
`repos.NAME.FIELD`, its values `request`, `profile` (the session profile that the request names), `project`, `repo` (the
defaults of the repository), the path of a job file, `agent` (the image of the executor's agent) and `default`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from relay_core.domain.agents import profiles
from relay_core.domain.agents.executors import EXECUTORS, ExecutorChoice, check_prompt
from relay_core.domain.agents.profiles import Profiles
from relay_core.domain.chain import Action, RepoScripts, plan_run
from relay_core.domain.errors import InvalidInput
from relay_core.domain.job_file import EXECUTOR_FIELDS, SCRIPTS, JobFile, ServerRules
from relay_core.domain.limits import Limits
from relay_core.domain.step import AgentStep

REQUEST, PROFILE, PROJECT, REPO = "request", "profile", "project", "repo"
AGENT, DEFAULT = "agent", "default"
FIXED = frozenset({REQUEST, PROFILE})
"""Sources whose values no job file changes: a request gives a value itself, or names the session profile of it."""
AGENT_WORKING_DIR = "agent_working_dir"
"""Key of `sources`, which has it only if request or project ask for a working directory of the agent."""
DEFAULT_EXECUTOR = "claude-code"
"""The executor of a run for which neither request nor job file names one."""
SCRIPT_FIELDS = {name: "dev_server" if name == "dev_server_script" else name for name in SCRIPTS.values()}
"""Field of a request → attribute of `RepoScripts`."""


@dataclass(frozen=True)
class JobTerms:
    """The settings that a run leaves to the job files of its repositories; stored until its clone has completed.

    Attributes:
        rules: what the server allows a file to ask for.
        executor: the fields of the executor that the request gives; empty if it names none.
        profiles: the profiles of the server and project, merged.
        read_files: whether job files are read at all.
    """

    rules: ServerRules = field(default_factory=ServerRules)
    executor: Mapping[str, Any] = field(default_factory=dict)
    profiles: Profiles = field(default_factory=dict)
    read_files: bool = True

    def as_json(self) -> dict[str, Any]:
        """Return the terms as they are stored."""
        return {
            "maxima": dict(self.rules.maxima),
            "allowed_images": list(self.rules.allowed_images),
            "executor": dict(self.executor),
            "profiles": self.profiles,
            "read_files": self.read_files,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "JobTerms":
        """Return the terms from what `as_json` returned."""
        rules = ServerRules(stored["maxima"], stored["allowed_images"])
        return cls(rules, stored["executor"], stored["profiles"], stored["read_files"])


@dataclass(frozen=True)
class JobSettings:
    """The settings of a run that a job file can complete."""

    image: str
    limits: Limits
    executor: ExecutorChoice
    repos: Sequence[RepoScripts]
    sources: Mapping[str, str] = field(default_factory=dict)
    agent_working_dir: str | None = None
    """The one that request or project ask for; None: it follows from the repositories."""

    @property
    def requested(self) -> bool:
        """Whether the request names image and executor, so that no job file can change them."""
        return FIXED.issuperset((self.sources.get("image"), self.sources.get("executor")))

    def plan(self, planned: Action) -> Action:
        """Return the whole chain of the run, with the prompt of the chain that was planned before."""
        return plan_run(self.repos, self.executor, prompt_of(planned), self.agent_working_dir)


def prompt_of(planned: Action) -> str:
    """Return the prompt of the agent in the chain of a run."""
    group = planned.following
    while group is not None:
        for step in group.steps:
            if isinstance(step, AgentStep):
                return step.prompt
        group = group.following
    return ""


def complete(settings: JobSettings, terms: JobTerms, files: Sequence[JobFile | None], prompt: str = "") -> JobSettings:
    """Return the settings of a run, completed by the job files of its repositories.

    Scripts and working directory of a repository come from its own file; image, limits and executor from the file of
    the first repository. Where the settings have no executor, because no agent is to run, a file adds none.

    Args:
        settings: the settings as the request and the project give them.
        terms: what the run leaves to job files.
        files: the job file of each repository, in the order of `settings.repos`; None where there is none.
        prompt: what the agent is asked for, as some agents do not take every prompt.

    Raises:
        JobFileInvalid: a value of a file does not fit the run.
    """
    sources = dict(settings.sources)
    repos = [
        repo if file is None else _with_scripts(repo, file, sources)
        for repo, file in zip(settings.repos, files, strict=True)
    ]
    first = files[0] if files else None
    if first is None:
        return replace(settings, repos=repos, sources=sources)
    image = settings.image
    if first.image is not None and sources.get("image") not in FIXED:
        image, sources["image"] = first.image, first.path
    taken = {name: value for name, value in first.limits.items() if f"limits.{name}" not in sources}
    sources.update({f"limits.{name}": first.path for name in taken})
    executor = _executor(settings.executor, terms, first, prompt, sources)
    limits = Limits.from_row({**vars(settings.limits), **taken})
    return replace(settings, image=image, limits=limits, executor=executor, repos=repos, sources=sources)


def image_of_agent(settings: JobSettings) -> str | None:
    """Return the name of the image with the executor's agent, if nothing but the server's default names an image."""
    kind = EXECUTORS.get(settings.executor.name)
    if settings.sources.get("image") != DEFAULT or kind is None or kind.program is None:
        return None
    return f"relay-{kind.name}:latest"


def describe(sources: Mapping[str, str], file: str) -> str:
    """Return which values a file gave, as words for the log; empty if it gave none."""
    return ", ".join(name for name, source in sources.items() if source == file)


def _with_scripts(repo: RepoScripts, file: JobFile, sources: dict[str, str]) -> RepoScripts:
    given = {**file.scripts, **({} if file.working_dir is None else {"working_dir": file.working_dir})}
    changes: dict[str, Any] = {}
    for name, value in given.items():
        key = f"repos.{repo.name}.{name}"
        if sources.get(key) != REQUEST:
            changes[SCRIPT_FIELDS.get(name, name)] = value
            sources[key] = file.path
    return replace(repo, **changes)


def _executor(
    present: ExecutorChoice, terms: JobTerms, file: JobFile, prompt: str, sources: dict[str, str]
) -> ExecutorChoice:
    if not present.name:  # a workspace without an agent
        return present
    given = {name: value for name, value in terms.executor.items() if value is not None}
    if not file.executor or given.get("name") not in (None, file.executor["name"]):
        return present
    if not set(file.executor) - set(given):
        return present
    try:
        chosen = profiles.choose(terms.profiles, {**file.executor, **given})
        check_prompt(chosen.name, prompt)
    except InvalidInput as error:
        key = str(error.field or "executor.name").removeprefix("executor.")
        key = key if key in EXECUTOR_FIELDS else "name"
        raise file.invalid(("executor", key), str(error)) from error
    sources["executor"] = file.path
    return chosen
