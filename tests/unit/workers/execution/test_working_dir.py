import pytest

from relay_core.domain.errors import StepFailed
from relay_core.domain.vocabulary import Reason
from relay_workers.execution.working_dir import check_working_dir


def test_what_is_missing_or_no_directory_is_said_in_plain_words(tmp_path):
    app = tmp_path / "repos" / "app"
    (app / "svc").mkdir(parents=True)
    (app / "README").touch()
    (app / "link").symlink_to("svc")
    for good in ("repos/app", "repos/app/svc", "repos/app/link", "repos/app/link/below"):
        check_working_dir(tmp_path, good)
    for wrong, words in (
        ("repos/app/nope", "repos/app/nope does not exist"),
        ("repos/app/svc/a/b", "does not exist"),
        ("repos/app/README", "is no directory"),
        ("repos/app/README/x", "is no directory"),
    ):
        with pytest.raises(StepFailed, match=words) as error:
            check_working_dir(tmp_path, wrong)
        assert error.value.reason == Reason.START_FAILED
