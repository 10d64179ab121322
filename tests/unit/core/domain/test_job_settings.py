"""Request over job file over project, and which of them gave a value."""

import pytest

from relay_core.domain.agents.executors import ExecutorChoice
from relay_core.domain.agents.profiles import BUILT_IN
from relay_core.domain.chain import Action, RepoScripts, plan_run
from relay_core.domain.job_file import JobFile, JobFileInvalid, ServerRules, parse
from relay_core.domain.job_settings import JobSettings, JobTerms, complete, describe, image_of_agent, prompt_of
from relay_core.domain.limits import Limits
from relay_core.domain.step import CloneStep

CLAUDE = ExecutorChoice("claude-code")


def settings(**changes: object) -> JobSettings:
    given = {"image": "default:1", "limits": Limits(), "executor": CLAUDE, "repos": [RepoScripts("app")]}
    return JobSettings(**{**given, "sources": {"image": "default"}, **changes})


def file(text: str) -> JobFile:
    return parse(text.encode(), "relay.toml")


def test_a_file_completes_what_the_request_leaves_open():
    text = 'image = "i:1"\nsetup = "s"\ndev_server = "d"\nworking_dir = "w"\n[limits]\ncpus = 1\n'
    done = complete(settings(), JobTerms(), [file(text)], "go")
    assert (done.image, done.limits.cpus) == ("i:1", 1)
    assert done.repos == [RepoScripts("app", working_dir="w", setup_script="s", dev_server="d")]
    assert done.sources == {
        "image": "relay.toml",
        "limits.cpus": "relay.toml",
        "repos.app.setup_script": "relay.toml",
        "repos.app.dev_server_script": "relay.toml",
        "repos.app.working_dir": "relay.toml",
    }
    assert "limits.cpus" in describe(done.sources, "relay.toml")


def test_the_request_goes_over_the_file_and_the_file_over_the_project():
    repo = RepoScripts("app", setup_script="of the request", cleanup_script="of the project")
    sources = {"image": "request", "limits.cpus": "request", "repos.app.setup_script": "request"}
    given = settings(image="mine", repos=[repo], sources={**sources, "repos.app.cleanup_script": "project"})
    text = 'image = "i"\nsetup = "f"\ncleanup = "f"\n[limits]\ncpus = 1\n'
    done = complete(given, JobTerms(), [file(text)], "go")
    assert (done.image, done.limits.cpus) == ("mine", Limits().cpus)
    assert done.repos == [RepoScripts("app", setup_script="of the request", cleanup_script="f")]
    assert done.sources == {**sources, "repos.app.cleanup_script": "relay.toml"}


def test_an_empty_script_of_a_file_removes_the_projects():
    given = settings(repos=[RepoScripts("app", setup_script="s")], sources={"repos.app.setup_script": "project"})
    done = complete(given, JobTerms(), [file('setup = ""')], "go")
    assert plan_run(done.repos, CLAUDE, "go").following.steps[0].run_reason == "coding_agent"


def test_of_several_repositories_each_brings_its_scripts_and_the_first_the_rest():
    given = settings(repos=[RepoScripts("a"), RepoScripts("b")])
    done = complete(given, JobTerms(), [None, file('image = "i"\nsetup = "s"\n[limits]\ncpus = 1')], "go")
    assert (done.image, done.limits, done.repos[1].setup_script) == ("default:1", Limits(), "s")


def terms(**executor: str) -> JobTerms:
    return JobTerms(executor=executor, profiles=BUILT_IN)


def test_a_file_chooses_the_agent_only_where_the_request_names_none():
    text = file('[executor]\nname = "codex"\nmodel = "m"\n')
    assert complete(settings(), terms(), [text], "go").executor == ExecutorChoice("codex", model="m")
    assert complete(settings(), terms(name="claude-code"), [text], "go").executor == CLAUDE


def test_a_file_completes_the_agent_that_the_request_names():
    text = file('[executor]\nname = "claude-code"\nmodel = "m"\nreasoning_effort = "low"\n')
    done = complete(settings(), terms(name="claude-code", model="mine"), [text], "go")
    assert (done.executor.model, done.executor.reasoning_effort) == ("mine", "low")
    assert done.sources["executor"] == "relay.toml"


@pytest.mark.parametrize(("text", "prompt"), [('variant = "deep"\n', "go"), ("", " ")])
def test_an_agent_that_does_not_fit_names_its_line(text: str, prompt: str):
    with pytest.raises(JobFileInvalid, match=r"relay\.toml:[23]: "):
        complete(settings(), terms(), [file(f'[executor]\nname = "codex"\n{text}')], prompt)


def test_the_plan_keeps_the_prompt():
    planned = plan_run([RepoScripts("app")], CLAUDE, "do it")
    plan = complete(settings(), JobTerms(), [file('cleanup = "c"')], "go").plan(planned)
    assert (prompt_of(plan), prompt_of(Action(CloneStep()))) == ("do it", "")
    assert plan.following.following.steps[0].script == "c"


def test_the_image_of_the_agent_is_for_runs_that_name_no_image():
    assert image_of_agent(settings()) == "relay-claude-code:latest"
    assert image_of_agent(settings(sources={"image": "project"})) is None
    assert image_of_agent(settings(executor=ExecutorChoice("shell", "true"))) is None


def test_terms_survive_their_json():
    given = JobTerms(ServerRules({"pids": 9}, ["a*"]), {"name": "codex"}, BUILT_IN, read_files=False)
    assert JobTerms.from_json(given.as_json()) == given
