"""Runs an executor's plan in a container, as the runner does: script and prompt as files, output to the reader."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import docker
from docker.models.containers import Container

from relay_stack.images.agent_images import AGENT_TAGS, build_agents_image
from relay_stack.images.own_images import ensure_images
from relay_stack.machine.consent import Consent
from relay_workers.agents.port import TurnReader, TurnRequest, Verdict
from relay_workers.agents.registry import get_executor
from tests.support.machine import machine_lock
from tests.support.model_server.in_container import start_in_container

UID = os.getuid() or 1000
GID = 20001


@dataclass(frozen=True)
class Turn:
    """What came of a turn."""

    exit_code: int
    verdict: Verdict
    reader: TurnReader
    stderr: str


@dataclass
class AgentBox:
    """A container whose /workspace is the folder ``root``."""

    container: Container
    root: Path
    env: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    """Base URL of the scripted model."""
    turns: int = 0

    def folder(self, *parts: str) -> Path:
        """A folder of the workspace that its user may write."""
        path = self.root.joinpath(*parts)
        path.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            for each in (self.root / parts[0], path):
                os.chown(each, UID, UID)
        return path

    def sh(self, script: str, cwd: str = "/workspace") -> str:
        """Run a script as the workspace's user; it must succeed."""
        code, output = self.container.exec_run(["sh", "-c", script], workdir=cwd, user=f"{UID}:{GID}")
        assert code == 0, output
        return output.decode()

    def repo(self, name: str) -> str:
        """A fresh repository with one commit; its path in the container."""
        self.folder("repos", name)
        cwd = f"/workspace/repos/{name}"
        self.sh("git init -q -b main && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m init", cwd)
        return cwd

    def run(
        self,
        executor: str,
        request: TurnRequest,
        cwd: str,
        env: Mapping[str, str] | None = None,
        watch: Callable[[bytes], None] | None = None,
    ) -> Turn:
        """Run one turn to its end; ``watch`` sees each piece of stdout as it comes."""
        agent = get_executor(executor)
        plan, reader = agent.plan(request), agent.reader(request)
        self.turns += 1
        files = self.folder("runs", str(self.turns))
        (files / "script").write_bytes(plan.script)
        (files / "script").chmod(0o755)
        (files / "stdin").write_bytes(plan.stdin)
        where = f"/workspace/runs/{self.turns}"
        api = self.container.client.api
        started = api.exec_create(
            self.container.id,
            [
                "/bin/sh",
                "-c",
                f"exec {'' if plan.script.startswith(b'#!') else '/bin/sh '}{where}/script <{where}/stdin",
            ],
            environment={**plan.env, **self.env, **(env or {})},
            user=f"{0 if request.as_root else UID}:{GID}",
            workdir=cwd,
        )["Id"]
        stderr = b""
        for out, err in api.exec_start(started, stream=True, demux=True):
            stderr += err or b""
            if out:
                reader.feed(out)
                if watch:
                    watch(out)
        exit_code = api.exec_inspect(started)["ExitCode"]
        return Turn(exit_code, reader.verdict(exit_code, stderr), reader, stderr.decode())


@contextmanager
def agent_box(executor: str, services_dir: Path, root: Path) -> Iterator[AgentBox]:
    """A container of the executor's image without a network, with a scripted model in it and ``root`` as workspace."""
    client = docker.from_env()
    with machine_lock("images"):
        ensure_images(client, services_dir, Consent(yes=True))
        build_agents_image(client, executor.split(), services_dir / "logs")
    root.chmod(0o755)
    container = client.containers.run(
        AGENT_TAGS[executor],
        ["sleep", "infinity"],
        name=f"relay-test-{executor}-{uuid4().hex[:12]}",
        init=True,
        detach=True,
        user=str(UID),
        network_disabled=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        volumes={str(root): {"bind": "/workspace", "mode": "rw"}},
        labels={"relay.test": "executors"},
    )
    try:
        box = AgentBox(container, root, url=start_in_container(container))
        box.folder("home")
        names = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        box.env = {"HOME": "/workspace/home", **names}
        yield box
    finally:
        container.remove(force=True)
        client.close()
