"""A Docker engine of the test's own, in namespaces of its own, so that nothing that is done to it hurts another's."""

import os
import signal
import subprocess
import time
from pathlib import Path

import docker
import psutil
from docker.errors import DockerException

BASE, GIT = "relay-base:latest", "relay-git:latest"
START_SECONDS = 60


class OwnEngine:
    """dockerd with its own socket, data root and network, and with live-restore: containers outlive it.

    Args:
        root: a short path; a socket's may have a hundred characters.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self.host = f"unix://{root}/d.sock"
        self._dockerd: subprocess.Popen[bytes] | None = None
        # Holds the namespaces while dockerd is away.
        self._holder = subprocess.Popen(["unshare", "--net", "--mount", "--", "sleep", "infinity"])
        deadline = time.monotonic() + START_SECONDS
        while self._namespaces(self._holder.pid) & self._namespaces(
            os.getpid()
        ):  # else it is this machine's that we enter
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @staticmethod
    def _namespaces(pid: int) -> set[str]:
        return {str(Path(f"/proc/{pid}/ns/{kind}").readlink()) for kind in ("net", "mnt")}

    def start(self) -> None:
        """Returns when it answers."""
        root = self._root
        inside = ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", "--"]
        paths = [
            f"--host={self.host}",
            f"--data-root={root}/data",
            f"--exec-root={root}/exec",
            f"--pidfile={root}/d.pid",
        ]
        with (root / "dockerd.log").open("ab") as log:
            self._dockerd = subprocess.Popen(
                [
                    *inside,
                    "dockerd",
                    *paths,
                    "--bridge=none",
                    "--iptables=false",
                    "--ip6tables=false",
                    "--live-restore",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():  # dockerd tells only systemd when it is ready
            assert self._dockerd.poll() is None, (root / "dockerd.log").read_text()[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def end_dockerd(self, how: signal.Signals) -> None:
        """dockerd and its containerd; its containers and their shims stay.

        containerd dies a moment after a killed dockerd (PDEATHSIG). A dockerd that starts in this moment finds the old
        pid alive, starts no containerd of its own, and gives up.
        """
        assert self._dockerd is not None
        containerd = [child for child in psutil.Process(self._dockerd.pid).children() if child.name() == "containerd"]
        self._dockerd.send_signal(how)
        self._dockerd.wait(60)
        _, alive = psutil.wait_procs(containerd, timeout=START_SECONDS)
        assert not alive
        for pid_file in (self._root / "d.pid", *self._root.rglob("containerd.pid")):
            pid_file.unlink(missing_ok=True)  # its pid may be another process's when dockerd starts again

    def client(self) -> docker.DockerClient:
        return docker.DockerClient(base_url=self.host)

    def load_images(self) -> None:
        """Copy the image of git from the engine of this machine.

        It gets the name of the base image, too, which is three times as large: it has a shell and Perl.
        """
        save = subprocess.Popen(["docker", "save", GIT], stdout=subprocess.PIPE)
        subprocess.run(["docker", "--host", self.host, "load"], stdin=save.stdout, check=True, capture_output=True)
        assert save.wait() == 0
        subprocess.run(["docker", "--host", self.host, "tag", GIT, BASE], check=True)

    def end(self) -> None:
        """Everything of it; dockerd is started once more if it is away."""
        try:
            self._end_engine()
        finally:
            self._holder.kill()
            self._holder.wait()

    def _end_engine(self) -> None:
        if self._dockerd is not None and self._dockerd.poll() is not None:
            self.start()
        client = self.client()
        for container in client.containers.list(all=True):
            container.remove(force=True)
        client.close()
        assert self._dockerd is not None
        self._dockerd.send_signal(signal.SIGTERM)
        self._dockerd.wait(60)
        for pid_file in self._root.rglob("containerd.pid"):
            try:
                os.kill(int(pid_file.read_text()), signal.SIGTERM)
            except (ProcessLookupError, ValueError):
                continue

    def _answers(self) -> bool:
        try:
            client = self.client()
            try:
                return bool(client.ping())
            finally:
                client.close()
        except DockerException:
            return False
