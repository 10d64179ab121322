"""What counts as a secret in a run's `env` when the client does not say."""

import random
import string

import pytest

from relay_core.domain.env_secrets import is_secret

ORDINARY = {
    "NODE_ENV": "production",
    "APP_STATE": "completed",
    "ROLE": "assistant",
    "STEP": "step_finish",
    "PROJECT_DIR": "/workspace/repos/repo",
    "GOOGLE_APPLICATION_CREDENTIALS": "/workspace/home/credentials.json",
    "SSH_KEY_FILE": "~/.ssh/id_ed25519",
    "OPENAI_BASE_URL": "http://127.0.0.1:8080/v1",
    "DATABASE_URL": "postgres://app@db:5432/app",
    "GIT_COMMIT": "3aa8ea2f3aa8ea2f3aa8ea2f3aa8ea2f3aa8ea2f",
    "RUN_ID": "0b8f8f4e-2d62-4a7b-9c1e-6f1d2a3b4c5d",
    "IMAGE": "python-3-12-slim-bookworm-2024",
    "JAVA_OPTS": "-Xmx2g -Dfile.encoding=UTF-8",
    "MAX_TOKENS": "4096",
    "TOKENIZERS_PARALLELISM": "false",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/bin",
    "PWD": "/workspace",
    "TZ": "America/Argentina/Buenos_Aires",
    "COMPASS": "north-north-west",
    "MONKEY": "capuchin-capuchin",
    "KEYBOARD": "de-latin1-nodeadkeys",
    "CLASS_NAME": "MyVeryLongClassName2Something",
    "STARTED": "2024-01-01T10:20:30Z",
    "EMPTY": "",
}
SECRET = {
    "OPENAI_API_KEY": "whatever it is",
    "npmToken": "correct horse",
    "MYTOKEN": "correct horse",
    "DB_PASSWORD": "correct horse",
    "DB_PWD": "correct horse",
    "PGPASSWORD": "correct horse",
    "CLIENT_SECRET": "3aa8ea2f3aa8ea2f3aa8ea2f3aa8ea2f",
    "PIN_PASSWORD": "1234567890",
    "A": "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "B": "AKIAIOSFODNN7EXAMPLE",
    "C": "postgres://app:s3cret@db:5432/app",
    "D": "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----",
    "E": "Bearer abcdefghijkl",
    "F": "https://hooks.example.org/x?token=abcdefghijkl",
    "G": "wJalrXUtnFEMI7K7MDENG2bPxRfiCY9zQk4",
    "H": '{"private_key": "-----BEGIN PRIVATE KEY-----\\nMII"}',
    "I": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.sig",
    "SESSION_KEY": "/9j4AAQSkZJRg7ABAQ2E9FkQx0ZWxV/8K3p",
}


@pytest.mark.parametrize(("name", "value"), ORDINARY.items())
def test_an_ordinary_value_is_no_secret(name: str, value: str):
    assert not is_secret(name, value)


@pytest.mark.parametrize(("name", "value"), SECRET.items())
def test_a_credential_is_a_secret_by_its_name_or_its_shape(name: str, value: str):
    assert is_secret(name, value)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "piece", ["x", "x1", "a://", "a://:", ":", "/a", "-----BEGIN A", "?key=", "password=", "A ", "~/."]
)
def test_a_large_value_is_judged_at_once(piece: str):
    is_secret("X", piece * (65536 // len(piece)))
    is_secret(("A" + piece) * (255 // len(piece)), "x")


def test_generated_keys_are_found():
    letters, drawn = string.ascii_letters + string.digits, random.Random(1)
    found = sum(is_secret("X", "".join(drawn.choices(letters, k=32))) for _ in range(1000))
    assert found >= 950
