"""The real OpenCode against a scripted model, in a container without a network."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from tests.integration.agent_cases import AgentCases
from tests.integration.executor_fixtures import AgentBox, agent_box

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def box(services_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentBox]:
    with agent_box("opencode", services_dir, tmp_path_factory.mktemp("workspace")) as box:
        box.env = {**box.env, "OPENAI_BASE_URL": f"{box.url}/v1", "OPENAI_API_KEY": "test"}
        yield box


class TestOpenCode(AgentCases):
    executor = "opencode"
    unknown_session = "ses_4a1B"
    usage: ClassVar = {"input_tokens": 22, "output_tokens": 14}
    process = "opencode"
    key_words = "valid key"
