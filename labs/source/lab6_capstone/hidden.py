"""Hidden checks of lab 6: of the records only, the rest is read by a person.

Never part of a release, a handout or feedback.
"""

from labs.grading.checks.questions import Question, Student
from labs.grading.checks.records import RECORDS, problems, rows_of
from labs.grading.checks.records_file import rounds_and_calls


def records_sound(student: Student) -> None:
    found = problems(student.file(RECORDS))
    assert not found, f"{RECORDS}: {found[0]}"


def records_yours(student: Student) -> None:
    rows = rows_of(student)
    assert len(rows) >= 2, f"{RECORDS}: at least two candidates are asked for"
    assert all(row.get("method.seed") == student.seed for row in rows), (
        f"{RECORDS}: some record was not measured with your seed"
    )
    for row in rows:
        rounds, calls = rounds_and_calls(row)
        assert rounds >= 10 and rounds * calls >= 100, (
            f"{RECORDS}: at least 10 rounds and 100 calls of each candidate are asked for"
        )


QUESTIONS = {
    "records_sound": Question(4, records_sound, needs="file records.jsonl"),
    "records_yours": Question(2, records_yours, needs="file records.jsonl"),
}
