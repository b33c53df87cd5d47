from __future__ import annotations

from tests.sharing import group_of


def test_tests_with_an_expensive_fixture_of_a_file_or_of_the_run_stay_together() -> None:
    assert group_of("tests/end_to_end/test_sweep.py") == group_of("tests/test_cli.py") == "small_sweep"
    assert group_of("tests/end_to_end/test_own_task.py") == "tests/end_to_end/test_own_task.py"
    assert group_of("tests/test_errors.py") == ""
