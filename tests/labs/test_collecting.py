"""Zips as Moodle and Canvas make them, and what students make of zips and notebooks.

Each submission is graded if it can be, and reported if not.
"""

import io
import json
import re
import stat
import time
import zipfile
from datetime import datetime

import nbformat
import pytest

from labs.grading.intake import archives
from labs.grading.intake.cells import Unreadable
from labs.grading.intake.collect import collect
from labs.grading.intake.repair import repair
from labs.grading.intake.roster import Roster, same_id
from labs.grading.sandbox.limits import Limits
from tests.labs import toy

SMALL = Limits(disk_mb=5)
NOON = datetime(2026, 11, 25, 12)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return toy.make_course(tmp_path_factory.mktemp("course"))


def zipped(files: dict, links=()) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        for name, target in links:
            member = zipfile.ZipInfo(name)
            member.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, target)
    return buffer.getvalue()


# --------------------------------------------------------------------------------------- collecting
def test_moodle_and_canvas_names(course, tmp_path):
    book = nbformat.writes(toy.answer(course))
    submission = zipped({"toy.ipynb": book, "result.json": "{}"})
    bulk = zipped(
        {
            "Ada Lovelace_1001_assignsubmission_file_toy.zip": submission,
            "Björn Łukasz_1002_assignsubmission_file_/toy.zip": submission,
            "李小龍_1003_assignsubmission_file_/toy.ipynb": book,
            "李小龍_1003_assignsubmission_file_/result.json": "{}",
            "O'Neil, Ann-Kathrin_1004_assignsubmission_file_toy.ipynb": book,
        }
    )
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    (downloads / "Course-Toy-123.zip").write_bytes(bulk)
    of_doe = zipped(
        {
            "my lab/toy.ipynb": book,
            "my lab/__MACOSX/._toy.ipynb": "x",
            "my lab/result.json": "{}",
        }
    )
    (downloads / "doejane_1005_778899_toy.zip").write_bytes(of_doe)
    (downloads / "kowalskipiotr_LATE_1006_778900_toy-2.ipynb").write_text(book)
    found = collect(course, toy.LAB, [downloads])
    assert {student: entry["name"] for student, entry in found.items()} == {
        "1001": "Ada Lovelace",
        "1002": "Björn Łukasz",
        "1003": "李小龍",
        "1004": "O'Neil, Ann-Kathrin",
        "1005": "doejane",
        "1006": "kowalskipiotr",
    }
    assert not any(entry["problem"] for entry in found.values())
    for student in ("1001", "1002", "1003", "1005"):
        names = sorted(path.name for path in course.submitted(toy.LAB, student).iterdir())
        assert names == ["result.json", "toy.ipynb"]
    assert [path.name for path in course.submitted(toy.LAB, "1006").iterdir()] == ["toy-2.ipynb"]
    assert course.students(toy.LAB) == sorted(found)


@pytest.mark.parametrize(
    "stranger, own, name",
    [
        ("Ada Evil_31_assignsubmission_file_x_39_assignsubmission_file_toy.zip", "31", "Ada Evil"),
        ("adaevil_32_4567_x_39_assignsubmission_file_toy.zip", "32", "adaevil"),
        ("adaevil_LATE_33_4567_x_39_5_toy.zip", "33", "adaevil"),
        (
            "Ada Evil_34_assignsubmission_file_/Bob_39_assignsubmission_file_toy.zip",
            "34",
            "Ada Evil",
        ),
    ],
)
def test_a_file_name_does_not_choose_whose_submission_it_is(course, tmp_path, stranger, own, name):
    submission = zipped({"toy.ipynb": "{}"})
    (tmp_path / "all.zip").write_bytes(
        zipped({stranger: submission, "Bob_39_assignsubmission_file_toy.zip": submission})
    )
    found = collect(course, toy.LAB, [tmp_path])
    assert {student: (entry["name"], entry["flags"]) for student, entry in found.items()} == {
        own: (name, []),
        "39": ("Bob", []),
    }


def test_two_names_for_one_id_are_told_and_the_first_stays(course, tmp_path):
    for name in ("Ada", "Bob"):
        (tmp_path / f"{name}_40_assignsubmission_file_toy.ipynb").write_text(f"of {name}")
    (tmp_path / "Bob_40_assignsubmission_file_more.zip").write_bytes(b"")
    entry = collect(course, toy.LAB, [tmp_path])["40"]
    assert entry == {
        "name": "Ada",
        "notes": [],
        "problem": "",
        "flags": ["two names for this id: the files of Bob are skipped, those of Ada are graded"],
    }
    assert [path.read_text() for path in course.submitted(toy.LAB, "40").iterdir()] == ["of Ada"]
    (tmp_path / "Ada_40_assignsubmission_file_toy.ipynb").unlink()
    again = collect(course, toy.LAB, [tmp_path / "Bob_40_assignsubmission_file_toy.ipynb"])["40"]
    assert again["flags"] == [
        "two names for this id: the submission of Ada that was collected earlier is replaced"
    ]


def test_long_and_odd_names_do_not_stop_the_class(course, tmp_path, monkeypatch):
    long = ["數" * 100 + ".txt", "😀" * 80 + ".ipynb", "x." + "y" * 230]
    newer = bytearray(zipped({"toy.ipynb": "{}"}))
    newer[newer.find(b"PK\x01\x02") + 6] = 99  # needs version 9.9 of the format
    lzma = io.BytesIO()
    with zipfile.ZipFile(lzma, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("toy.ipynb", "{}" * 500)
    broken = bytearray(lzma.getvalue())
    broken[43:48] = b"\xff" * 5
    (tmp_path / "all.zip").write_bytes(
        zipped(
            {
                "a_51_1_toy.zip": zipped(dict.fromkeys(long, "x")),
                **{f"b_52_{i}_{name}": "x" for i, name in enumerate(long)},
                "c_53_1_toy.zip": bytes(newer),
                "d_54_1_toy.zip": bytes(broken),
                "e_55_1_toy.ipynb": "{}",
            }
        )
    )
    found = collect(course, toy.LAB, [tmp_path])
    assert [student for student, entry in found.items() if entry["problem"]] == ["53", "54"]
    for student in ("51", "52"):
        names = [path.name for path in course.submitted(toy.LAB, student).iterdir()]
        endings = {name.rpartition(".")[2] for name in names if "y" not in name[:3]}
        assert endings == {"txt", "ipynb"}
        assert len(names) == 3
        assert all(len(name.encode()) <= 200 for name in names)

    def disk_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", disk_full)
    problem = collect(course, toy.LAB, [tmp_path])["55"]["problem"]
    assert problem == "its files cannot be saved (No space left on device)"


def test_bad_zips_are_reported_and_do_not_stop_the_class(course, tmp_path):
    encrypted = bytearray(zipped({"toy.ipynb": "{}"}))
    encrypted[6] |= 1
    encrypted[encrypted.find(b"PK\x01\x02") + 8] |= 1
    whole = zipped({"toy.ipynb": "x" * 1000, "b": bytes(range(256)) * 100})
    bomb = zipped({"toy.ipynb": bytes(50 << 20)})
    lying = bytearray(bomb)
    for mark, offset in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        # it says that it unpacks to 9 bytes
        place = lying.find(mark) + offset
        lying[place : place + 4] = (9).to_bytes(4, "little")
    submissions = {
        "cut": whole[: len(whole) // 2],
        "nothing": b"",
        "text": b"Dear professor,",
        "empty": zipped({}),
        "encrypted": bytes(encrypted),
        "bomb": bomb,
        "lying": bytes(lying),
        "many": zipped({f"{i}.txt": "" for i in range(3000)}),
        "climbs": zipped({"../../../../etc/cron.d/evil": "x"}),
        "flipped": whole[:41] + b"\xff\xff" + whole[43:],
    }
    numbers = {name: str(2001 + i) for i, name in enumerate(submissions)}
    for name, content in submissions.items():
        (tmp_path / f"x_{numbers[name]}_1_toy.zip").write_bytes(content)
    (tmp_path / "x_2100_1_toy.rar").write_bytes(b"Rar!")
    good = zipped({"toy.ipynb": nbformat.writes(toy.answer(course))})
    (tmp_path / "x_2101_1_toy.zip").write_bytes(good)
    found = collect(course, toy.LAB, [tmp_path], limits=SMALL)
    said = {name: found[number]["problem"] for name, number in numbers.items()}
    assert all(said.values()), said
    assert "damaged" in said["cut"]
    assert "bomb" in said["bomb"]
    assert "3000" in said["many"]
    assert "climbs" in said["climbs"]
    assert "no files" in said["empty"]
    assert "bomb" in said["lying"] or "cannot be unpacked" in said["lying"]
    assert "ask for a zip" in found["2100"]["problem"] and not found["2101"]["problem"]
    assert set(found) <= set(course.students(toy.LAB))  # who could not be read is not forgotten
    assert not list(tmp_path.parent.rglob("evil"))


def test_a_zip_is_unpacked_flat_without_what_is_dangerous():
    content = zipped(
        {
            "toy.ipynb": "1",
            "deep/down/result.json": "2",
            "deep/toy.ipynb": "3",
            "../up.txt": "4",
            "/abs.txt": "5",
            "C:\\windows\\x.txt": "6",
            "a\\..\\..\\y.txt": "7",
            ".hidden": "8",
            ".ipynb_checkpoints/toy.ipynb": "9",
            "Übung „1“.txt": "10",
            "nul:?.txt": "11",
            "./dot/here.txt": "12",
        },
        links=[("link.json", "/etc/passwd")],
    )
    flat = archives.flat([archives.File("submission.zip", NOON, content)])
    assert {name: content.decode() for name, content in flat.content.items()} == {
        "toy.ipynb": "1",
        "deep_toy.ipynb": "3",
        "result.json": "2",
        "Übung „1“.txt": "10",
        "nul__.txt": "11",
        "here.txt": "12",
    }
    assert sum("climbs" in reason for reason in flat.flags) == 4
    assert sum("a link" in reason for reason in flat.flags) == 1
    assert flat.notes == [
        "two files are called toy.ipynb: deep/toy.ipynb is kept as deep_toy.ipynb"
    ]


def test_a_later_submission_replaces_the_earlier(course, tmp_path):
    for answer in ("1", "2"):
        submission = zipped({"toy.ipynb": "{}", f"only-{answer}.txt": answer})
        (tmp_path / "x_2200_1_toy.zip").write_bytes(submission)
        collect(course, toy.LAB, [tmp_path])
    assert not (course.submitted(toy.LAB, "2200") / "only-1.txt").exists()


def dated(files: dict, day: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2026, 11, day, 12, 0, 0)), content)
    return buffer.getvalue()


MIA = "Mia Berg_2400_assignsubmission_file_"
JUNK = b"\0\5\x16\7"
NESTED = zipped({"toy.zip": zipped({"x/toy.ipynb": "1"})})
DOWNLOADS = {  # how downloads come to an instructor: {path: content} -> the files of student 2400
    "packed again on a Mac": {
        "all.zip": zipped(
            {
                f"{MIA}/toy.zip": zipped({"toy.ipynb": "1"}),
                f"__MACOSX/{MIA}/._toy.zip": JUNK,
                f"__MACOSX/._{MIA}toy.zip": JUNK,
            }
        )
    },
    "unpacked": {f"{MIA}/toy.ipynb": b"1", f"{MIA}/.DS_Store": b"x"},
    "unpacked in folders": {f"Kurs [77]/more/{MIA}/my work/toy.ipynb": b"1"},
    "a zip in a zip": {"a.zip": zipped({"folder/b.zip": zipped({f"b/{MIA}/toy.zip": NESTED})})},
    "text typed in Moodle": {f"{MIA.replace('file', 'onlinetext')}/toy.ipynb": b"1"},
    "the later one first": {
        "a.zip": dated({f"{MIA}/toy.ipynb": "1"}, 20),
        "b.zip": dated({f"{MIA}/toy.ipynb": "old"}, 2),
    },
    "the later one last": {
        "a.zip": dated({f"{MIA}/toy.ipynb": "old"}, 2),
        "b.zip": dated({f"{MIA}/toy.ipynb": "1"}, 20),
    },
    "one damaged zip beside the notebook": {f"{MIA}/toy.ipynb": b"1", f"{MIA}/more.zip": b"PK"},
}


@pytest.mark.parametrize("kind", DOWNLOADS)
def test_downloads_as_they_come(course, tmp_path, kind):
    for path, content in DOWNLOADS[kind].items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)
    found = collect(course, toy.LAB, [tmp_path])
    assert set(found) == {"2400"}
    assert found["2400"]["problem"] == ""
    assert bool(found["2400"]["flags"]) == ("damaged" in kind)
    files = course.submitted(toy.LAB, "2400").iterdir()
    assert {path.name: path.read_text() for path in files} == {"toy.ipynb": "1"}


def test_names_in_zips_of_a_mac_are_read(course, tmp_path):
    content = bytearray(zipped({"Jörg_2401_1_toy.ipynb": "1"}))
    for place in (content.find(b"PK\1\2") + 9, content.find(b"PK\3\4") + 7):
        content[place] = 0  # UTF-8 without the flag that says so
    (tmp_path / "all.zip").write_bytes(content)
    assert collect(course, toy.LAB, [tmp_path])["2401"]["name"] == "Jörg"


def test_the_later_of_two_data_files_has_the_name():
    files = [
        archives.File("a/run.json", NOON.replace(hour=1), b"old"),
        archives.File("b/c/run.json", NOON, b"new"),
    ]
    flat = archives.flat(files)
    assert flat.content == {"run.json": b"new", "a_run.json": b"old"}
    assert flat.flags == ["two files are called run.json: a/run.json is kept as a_run.json"]


def test_files_without_a_student_are_named(course, tmp_path):
    (tmp_path / "toy.zip").write_bytes(zipped({"toy.ipynb": "{}"}))
    (tmp_path / "x_2300_1_toy.ipynb").write_text("{}")
    said = r"collected 1 submissions; these files have no student's name .* write it: toy\.zip"
    with pytest.raises(ValueError, match=said):
        collect(course, toy.LAB, [tmp_path])
    with pytest.raises(FileNotFoundError, match="there is no lab nine; there are toy"):
        collect(course, "nine", [tmp_path])


# ---------------------------------------------------------------------------------------- repairing
@pytest.fixture
def repaired(course, tmp_path):
    """repaired({file: content}): the report, the notebook after the repair, and its folder."""

    def run(files: dict):
        given = tmp_path / "given"
        target = tmp_path / "target"
        given.mkdir()
        target.mkdir()
        for name, text in files.items():
            if isinstance(text, dict):
                text = nbformat.writes(text)
            (given / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        before = {path.name: path.read_bytes() for path in given.iterdir()}
        found = repair(given, course.release(toy.LAB), target)
        after = {path.name: path.read_bytes() for path in given.iterdir()}
        assert after == before, "a submission is never changed"
        return found, nbformat.read(target / "toy.ipynb", 4), target

    return run


def grade_ids(book) -> list:
    return [c.metadata.nbgrader.grade_id for c in book.cells if "nbgrader" in c.metadata]


def test_what_is_whole_is_not_repaired(course, repaired):
    found, book, _ = repaired({"toy.ipynb": toy.answer(course, "1")})
    assert found.notes == found.flags == found.elsewhere == found.untouched == []
    assert [c.source for c in book.cells] == [c.source for c in toy.answer(course, "1").cells]
    assert grade_ids(book) == grade_ids(nbformat.read(course.release(toy.LAB), 4))


@pytest.mark.parametrize(
    "name",
    [
        "toy (1).ipynb",
        "toy-2.ipynb",
        "Toy.ipynb",
        "toy Kopie.ipynb",
        "toy - Copy (2).ipynb",
        "1001_toy.ipynb",
        "homework.ipynb",
        "übung.IPYNB",
    ],
)
def test_renamed_notebooks_are_found(course, repaired, name):
    found, book, target = repaired({name: toy.answer(course)})
    assert found.notes == [f"took {name} for toy.ipynb"]
    assert toy.cell(book, "double").source == toy.DOUBLE
    assert [path.name for path in target.iterdir()] == ["toy.ipynb"]


def test_renamed_files_are_found(course, repaired):
    found, _, target = repaired(
        {
            "toy.ipynb": toy.answer(course),
            "result (1).json": "1",
            "Run-12.jsonl": "2",
            "other.json": "3",
        }
    )
    assert (target / "result.json").read_text() == "1" and (target / "result (1).json").exists()
    assert "took result (1).json for result.json" in found.notes


@pytest.mark.parametrize(
    "files, said",
    [
        ({}, "there is no notebook"),
        ({"toy.py": "x"}, "there is no notebook"),
        ({"a.ipynb": "{}", "b.ipynb": "{}"}, "not a Jupyter notebook"),
        ({"toy.ipynb": '{"cells": [ {"cell_type"'}, "cut off or damaged"),
        ({"toy.ipynb": ""}, "cut off or damaged"),
        ({"toy.ipynb": "[" * 10**6}, "cut off or damaged"),
        (
            {"toy.ipynb": json.dumps({"cells": [{"cell_type": "code", "source": ""}] * 2001})},
            "the notebook has 2001 cells; at most 2000 are read",
        ),
        ({"toy.ipynb": " " * (21 << 20)}, "more than 20 MB"),
        ({"toy.ipynb": "[]"}, "not a Jupyter notebook"),
        ({"toy.ipynb": '{"cells": [1]}'}, "not a Jupyter notebook"),
        ({"toy.ipynb": '{"cells": 3}'}, "not a Jupyter notebook"),
        (
            {"toy.ipynb": '{"cells": [{"cell_type": "code", "source": 3, "metadata": 3}]}'},
            "not a Jupyter notebook",
        ),
        (
            {
                "toy.ipynb": '{"cells": [{"cell_type": "code", "source": "", '
                '"metadata": {"nbgrader": []}}]}'
            },
            "not a Jupyter notebook",
        ),
    ],
)
def test_what_cannot_be_read_is_said(repaired, files, said):
    with pytest.raises(Unreadable, match=said):
        repaired(files)


def copy_of(book, name: str, **changes):
    cell = nbformat.from_dict(json.loads(json.dumps(toy.cell(book, name))))
    cell.update(changes)
    return cell


@pytest.mark.filterwarnings("ignore:Non-unique")
def test_copied_cells(course, repaired):
    release = nbformat.read(course.release(toy.LAB), 4)
    stub = "def double(x):\n    raise NotImplementedError  # replace this line by your solution"
    book = toy.answer(course, double=stub)
    book.cells += [
        copy_of(book, "double", source=toy.DOUBLE, id="new"),
        copy_of(book, "double_values"),
        copy_of(release, "why", id="x"),
    ]
    found, repaired_book, _ = repaired({"toy.ipynb": book})
    assert {
        "cell double occurs 2 times",
        "cell double_values occurs 2 times",
        "cell why occurs 2 times",
    } == set(found.notes)
    assert sorted(grade_ids(repaired_book)) == sorted(grade_ids(release))
    sources = {
        c.metadata.nbgrader.grade_id: c.source
        for c in reversed(repaired_book.cells)  # of cells with one name, the first
        if "nbgrader" in c.metadata
    }
    assert sources["double"] == toy.DOUBLE
    assert sources["why"] == "Because two is even."
    assert found.untouched == []
    nbformat.validate(repaired_book)


def test_deleted_cells_come_back_where_they_were(course, repaired):
    book = toy.answer(course)
    deleted = ("setup", "double_values", "result_file", "why")
    book.cells = [c for c in book.cells if c["id"] not in deleted]
    found, repaired_book, _ = repaired({"toy.ipynb": book})
    assert grade_ids(repaired_book) == grade_ids(nbformat.read(course.release(toy.LAB), 4))
    assert sum("was deleted, and has been restored" in note for note in found.notes) == 4
    assert found.untouched == ["why"]


def test_stripped_metadata_are_found_again(course, repaired):
    book = toy.answer(course)
    for cell in book.cells:
        cell.metadata = {}
    found, repaired_book, _ = repaired({"toy.ipynb": book})
    assert grade_ids(repaired_book) == grade_ids(nbformat.read(course.release(toy.LAB), 4))
    assert found.notes == []


def test_odd_but_readable_notebooks(course, repaired):
    raw = json.loads(nbformat.writes(toy.answer(course)))
    raw["nbformat_minor"] = 2
    raw["metadata"] = {"kernelspec": {"name": "no-such-kernel"}, "x": 1}
    for cell in raw["cells"]:
        del cell["id"]
        cell["outputs"] = "what?"
        cell["execution_count"] = "three"
    raw["cells"].append({"cell_type": "unheard of", "source": 3})
    _, book, _ = repaired({"toy.ipynb": "\ufeff" + json.dumps(raw)})
    assert toy.cell(book, "total").source == toy.TOTAL
    assert book.metadata.kernelspec.name == "python3"
    nbformat.validate(book)


def test_half_a_character_is_replaced(course, repaired):
    answered = toy.answer(course, why="Because \ud800 two.")
    found, book, _ = repaired({"toy.ipynb": json.dumps(answered)})
    assert toy.cell(book, "why").source == "Because ? two." and found.notes == []


def test_long_names_of_copies_are_read_at_once(course, repaired):
    began = time.monotonic()
    repaired({"toy.ipynb": toy.answer(course), " - copy" * 25 + "x.txt": ""})
    assert time.monotonic() - began < 5


def test_ids_that_students_choose_cannot_leave_the_course(course, tmp_path):
    name = "..%2F_../../x_1_toy.zip".replace("/", "_")
    (tmp_path / name).write_bytes(zipped({"toy.ipynb": "{}"}))
    with pytest.raises(ValueError, match="no student's name"):
        collect(course, toy.LAB, [tmp_path])
    assert all(re.fullmatch(r"\d+", student) for student in course.students(toy.LAB))


# --------------------------------------------------------------------------------------- who is who
LISTS = {
    "ours": "student_id,lms_id,name\ns-1,901,Ada Lovelace\ns-2,,Björn Łukasz\ns-3,,Kim\ns-4,,Kim\n",
    "Moodle's worksheet": (
        "Identifier,Full name,ID number,Grade\n"
        "Participant 901,Ada Lovelace,s-1,\n"
        "Participant 77,Björn Łukasz,s-2,\n"
    ),
    "Canvas's gradebook": (
        "Student,ID,SIS User ID\n"
        "    Points Possible,,\n"
        '"Lovelace, Ada",901,s-1\n'
        '"Łukasz, Björn",77,s-2\n'
    ),
}


@pytest.mark.parametrize("kind", LISTS)
def test_the_course_list_says_who_a_number_of_the_lms_is(course, tmp_path, kind):
    (tmp_path / "students.csv").write_text("\ufeff" + LISTS[kind], encoding="utf-8")
    submissions = tmp_path / "downloads"
    submissions.mkdir()
    for name in (
        "Ada Lovelace_901_assignsubmission_file_toy.ipynb",
        "łukaszbjörn_55_66_toy.ipynb",
        "Kim_12_assignsubmission_file_toy.ipynb",
    ):
        (submissions / name).write_text(nbformat.writes(toy.answer(course)))
    found = collect(course, toy.LAB, [submissions], Roster(tmp_path / "students.csv"))
    assert set(found) == {"s-1", "s-2", "12"}
    assert not found["s-1"]["flags"]
    assert not found["s-2"]["flags"]
    assert found["12"]["flags"] == [
        "Kim is not in the list of students, or shares the name: graded under the number 12"
    ]
    assert (course.submitted(toy.LAB, "s-1") / "toy.ipynb").exists()


SPREADSHEETS = {  # the same list as spreadsheets, browsers and data frames write it
    "semicolons": "student_id;lms_id;name\ns-1;901;Jörg Weiß\n".encode("utf-8-sig"),
    "Windows-1252": "student_id,lms_id,name\ns-1,901,Jörg Weiß\n".encode("cp1252"),
    "UTF-16 and tabs": "student_id\tlms_id\tname\ns-1\t901\tJörg Weiß\n".encode("utf-16"),
    "UTF-16 without a mark": "student_id\tlms_id\tname\ns-1\t901\tJörg Weiß\n".encode("utf-16-le"),
    "quotes and empty lines": (
        '\n"Student_ID" ; "LMS_ID" ; "Name"\n\n"s-1";"901";"Weiß, Jörg"\n;;\n'.encode()
    ),
    "sep=": b"sep=;\r\nstudent_id;lms_id;name\r\ns-1;901;x\r\n",
    "numbers of a data frame": b"student_id,lms_id\ns-1,901.0\n",
    "a zero is lost": b"student_id,lms_id\ns-1,0901\n",
    "a formula keeps the text": b'student_id,lms_id\n="s-1","=""901"""\n',
    "first and last name": "First name,Surname,ID number\nJörg,Weiß,s-1\n".encode(),
    "decomposed accents": "student_id,name\ns-1,Jo\u0308rg Weiß\n".encode(),
}


@pytest.mark.parametrize("kind", SPREADSHEETS)
def test_lists_as_spreadsheets_write_them(tmp_path, kind):
    (tmp_path / "list.csv").write_bytes(SPREADSHEETS[kind])
    assert Roster(tmp_path / "list.csv").student("901", "Jörg Weiß") == ("s-1", "")


@pytest.mark.parametrize(
    "content, said",
    [(b"PK\3\4", "save it as CSV"), (b"student_id,lms_id\n1.84332E+12,901\n", "has rounded")],
)
def test_lists_that_lost_the_ids_are_refused(tmp_path, content, said):
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(ValueError, match=f"list.csv .*{said}"):
        Roster(tmp_path / "list.csv")


@pytest.mark.parametrize(
    "one, other, same",
    [
        ("0012345", "12345", True),
        ("12345", "12345.0", True),
        ("Ada-1815", "ada-1815", True),
        ("0000000", "12345", False),
        ("123450", "12345", False),
    ],
)
def test_ids_that_a_spreadsheet_or_a_keyboard_changed(one, other, same):
    assert same_id(one, other) == same


@pytest.mark.parametrize("text", ["", "id,mail\n1,2\n", "student_id\ns-1\n"])
def test_a_list_that_says_nothing_is_refused(tmp_path, text):
    (tmp_path / "students.csv").write_text(text)
    said = "students.csv needs a column student_id, and lms_id or name"
    with pytest.raises(ValueError, match=said):
        Roster(tmp_path / "students.csv")


def test_a_download_that_is_not_there(course, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no .*nothing.zip"):
        collect(course, toy.LAB, [tmp_path / "nothing.zip"])
