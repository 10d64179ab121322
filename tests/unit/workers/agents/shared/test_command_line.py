"""A command line made of arguments, in a shell."""

import os
import subprocess

import pytest

from relay_core.domain.errors import InvalidInput
from relay_workers.agents.shared.command_line import shell_line


def test_arguments_arrive_as_they_are():
    argv = ["printf", "%s\\n", "", "a b", "it's", '$HOME `id` "x"', "line\nbreak", "-n", "ä€𝄞"]
    done = subprocess.run(["sh"], input=b"exec " + shell_line(argv), capture_output=True, check=True)
    assert done.stdout == b"".join(os.fsencode(word) + b"\n" for word in argv[2:])


def test_half_of_a_surrogate_pair_is_refused():
    with pytest.raises(InvalidInput, match="not valid Unicode"):
        shell_line(["printf", "\udcff"])
