from __future__ import annotations

from app.cli.checks.finding import Outcome
from app.cli.checks.python import check_packages, check_python


def test_interpreter_of_the_tests_will_do() -> None:
    assert check_python().outcome is Outcome.OK


def test_no_package_of_this_environment_is_wrong() -> None:
    assert check_packages().outcome is not Outcome.FAIL
