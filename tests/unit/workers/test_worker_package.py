"""The package of the worker, as `python -m relay_workers` imports it."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize(("given", "expected"), [(None, "SIGQUIT"), ("SIGINT", "SIGINT")])
def test_celery_reads_what_a_term_signal_means(given, expected):
    environment = {name: value for name, value in os.environ.items() if name != "REMAP_SIGTERM"}
    if given is not None:
        environment["REMAP_SIGTERM"] = given
    code = "import relay_workers.__main__; from celery.apps.worker import REMAP_SIGTERM; print(REMAP_SIGTERM)"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == expected
