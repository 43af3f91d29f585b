"""The check word shows a mistyped id, and the feedback page an id that is not the student's."""

import random
import string

import nbformat

from helpers.student_ids import check_word
from labs.grading.__main__ import main
from labs.grading.course import Result
from labs.grading.report import gradebook
from tests.labs import toy


def mistyped(student_id: str, generator: random.Random) -> str:
    """The id with one character replaced, dropped or doubled, or two neighbours swapped."""
    place = generator.randrange(len(student_id) - 1)
    other = generator.choice(string.digits + string.ascii_letters)
    before = student_id[:place]
    here = student_id[place : place + 2]
    after = student_id[place + 2 :]
    changed = generator.choice([other + here[1], here[1], here[0] * 2 + here[1], here[::-1]])
    return before + changed + after


def test_check_words_tell_mistyped_ids_apart():
    generator = random.Random(1)
    same = 0
    for _ in range(2000):
        student_id = str(generator.randrange(10**6, 10**8))
        other = mistyped(student_id, generator)
        same += other != student_id and check_word(other) == check_word(student_id)
    assert same == 0  # 0.02 are expected of words that are drawn: there are 91,125


def test_check_words_are_short_and_stay():
    assert check_word("ada-1815") == "mabobo" and check_word("Ada-1815") != check_word("ada-1815")


def warned(other_id: str | None) -> str:
    """The first cell of the notebook that the student and the formgrader see."""
    result = Result("1001", toy.LAB, other_id=other_id, notebook=nbformat.writes(toy.notebook()))
    return nbformat.reads(gradebook._with_verdicts(result, set()), 4).cells[0].source


def test_feedback_begins_with_the_id_that_is_not_the_students():
    assert "Check your student id" not in warned(None)
    for shown in ("`0000000`", "`1001`", check_word("1001")):
        assert shown in warned("0000000")
    assert "<script" not in warned("<script>") and "another one" in warned("`[x](javascript:1)")


def test_check_words_of_a_course_list_are_printed(tmp_path, monkeypatch, capsys):
    (tmp_path / "list.csv").write_text("student_id,name\n1002,Zoë\n1001,Ada\n")
    monkeypatch.setattr("sys.argv", ["grading", "check-words", str(tmp_path / "list.csv")])
    assert main() == 0
    assert capsys.readouterr().out == f"1001,{check_word('1001')}\n1002,{check_word('1002')}\n"
