"""The grader's command line: errors are one sentence on standard error."""

import pytest

from labs.grading.__main__ import main
from tests.labs import toy


def test_a_missing_course_list_is_named_on_standard_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["grading", "check-words", str(tmp_path / "none.csv")])
    assert main() == 1
    assert capsys.readouterr() == ("", f"there is no course list {tmp_path / 'none.csv'}\n")


@pytest.mark.parametrize(
    "command, said",
    [
        (["feedback", "lab2"], "there is no lab lab2; there are toy"),
        (["feedback", "toy"], "toy is not released yet"),
        (["grade", "toy", "--again", "1001"], "there is no submission of 1001 for toy"),
        (["collect", "toy", "gone.zip"], "there is no gone.zip"),
    ],
)
def test_commands_end_with_one_sentence(tmp_path, monkeypatch, capsys, command, said):
    course = toy.make_course(tmp_path)
    if command[0] == "feedback":
        course.release(toy.LAB).unlink()
    monkeypatch.setattr("sys.argv", ["grading", "--course", str(tmp_path), *command])
    assert main() == 1
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    "command, file", [("collect", "collected/toy.json"), ("grade", "results/toy/1001.json")]
)
def test_a_damaged_file_is_named_with_the_command_that_writes_it(
    tmp_path, monkeypatch, capsys, command, file
):
    toy.make_course(tmp_path)
    (tmp_path / "submitted/1001/toy").mkdir(parents=True)
    damaged = tmp_path / file
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_text('{"1001": {"na')
    monkeypatch.setattr("sys.argv", ["grading", "--course", str(tmp_path), "overview"])
    assert main() == 1
    errors = capsys.readouterr().err
    assert f"{damaged} is damaged" in errors and f"run `{command}` again" in errors
