"""What is decided about agents' images before anything is built."""

import re
import subprocess

import pytest

from relay_stack.errors import StackProblem
from relay_stack.images.agent_images import AGENT_TAGS, AGENTS, choose_agents, default_tag
from relay_stack.images.build import RECIPES
from relay_stack.images.image_needs import lacks, read_facts
from relay_workers.agents import programs

RECIPE = RECIPES / "agents"


def test_an_agent_of_the_protocol_brings_the_library():
    assert choose_agents(["codex-acp", "codex", "codex"]) == ("codex", "acp", "codex-acp")
    assert choose_agents(["gemini"]) == ("gemini",)
    with pytest.raises(StackProblem, match="no agent 'amp'; there are: claude-code, codex"):
        choose_agents(["codex", "amp"])


def test_one_agent_gives_the_image_its_name():
    assert default_tag(["claude-code"]) == "relay-claude-code:latest" == AGENT_TAGS["claude-code"]
    assert default_tag(["codex-acp"]) == "relay-codex-acp:latest"
    assert default_tag(["codex", "aider"]) == "relay-agents:latest"


def test_the_recipe_has_a_stage_for_each_agent_and_takes_all_of_them():
    dockerfile = (RECIPE / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM \S+ AS (\S+)", dockerfile, re.MULTILINE)) >= set(AGENTS)
    assert set(re.findall(r"^COPY --from=(\S+) /opt/agents /opt/agents", dockerfile, re.MULTILINE)) == set(AGENTS)


def test_the_recipe_refuses_what_it_does_not_know():
    asked = subprocess.run(["sh", RECIPE / "install.sh", "choose", "amp"], capture_output=True, text=True, check=False)
    assert asked.returncode == 1
    assert set(asked.stderr.partition("there are: ")[2].split()) == set(AGENTS)


@pytest.mark.parametrize("program", ["claude", "codex", "gemini", "opencode", "qwen", "aider", "mini", "codex-acp"])
def test_the_advice_about_a_missing_program_names_an_image_that_can_be_built(program):
    advice = programs.explain("x", [program])
    assert re.search(r"relay image build (\S+)`", advice)[1] in AGENTS
    assert re.search(r"relay-\S+:latest", advice)[0] in AGENT_TAGS.values()


DEBIAN = "glibc=0\nglibc=2.36\nlibstdc++=0\npython=3.11\nvenv=0\ngit=0\ncertificates=0\n"


def missing(output, *names):
    return lacks(read_facts(output), {name: AGENTS[name] for name in names})


def test_what_an_image_lacks_is_named_with_the_agent_that_needs_it():
    assert missing(DEBIAN, *AGENTS) == []
    assert missing("", "claude-code") == [
        "has no glibc, which claude-code needs: use one based on Debian, Ubuntu, Fedora or the like"
    ]
    assert missing("glibc=0\nglibc=2.17", "codex", "qwen")[0].startswith(
        "has glibc 2.17, not 2.28 or newer, which each of the agents needs"
    )
    assert missing("glibc=0", "claude-code") == []
    assert missing("glibc=2.36", "claude-code", "qwen")[0].startswith("has no libstdc++.so.6, which qwen needs")
    assert missing(DEBIAN.replace("3.11", "3.13"), "aider", "mini") == [
        "has python3 3.13, not 3.10 to 3.12, which aider needs: install it there, or use another image"
    ]
    assert missing("glibc=2.31\npython=3.9\nvenv=0", "mini")[0].startswith("has python3 3.9, not 3.10 or newer")
    assert missing("glibc=2.36", "aider")[0].startswith("has no python3 (3.10 to 3.12), which aider needs")
    assert "module venv" in missing("python=3.12", "acp")[0]
