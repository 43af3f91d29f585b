"""Where the files of a course are, and the result of one submission."""

import atexit
import dataclasses
import glob
import hashlib
import json
import re
import tempfile
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

from helpers.paths import whole_file
from labs.grading.errors import CourseError, NotFound
from labs.grading.intake.archives import listed

LABS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Course:
    """The folders of a course, laid out as nbgrader expects them.

    `root` is labs/ unless a test has its own.
    """

    root: Path = LABS

    def __post_init__(self):
        object.__setattr__(self, "root", Path(self.root).resolve())

    def source(self, lab: str) -> Path:
        """The folder of a lab with its answers.

        NotFound, with the names of all labs, if there is no such lab.
        """
        folder = self.root / "source" / lab
        if not (folder / f"{lab}.ipynb").is_file():
            raise NotFound(f"there is no lab {lab}; there are {', '.join(self.labs) or 'none'}")
        return folder

    @property
    def labs(self) -> list[str]:
        return sorted(
            path.parent.name
            for path in self.root.glob("source/*/*.ipynb")
            if path.stem == path.parent.name
        )

    def release(self, lab: str) -> Path:
        return self.root / "release" / lab / f"{lab}.ipynb"

    def submitted(self, lab: str, student: str) -> Path:
        return self.root / "submitted" / student / lab

    def autograded(self, lab: str, student: str) -> Path:
        return self.root / "autograded" / student / lab / f"{lab}.ipynb"

    def marked(self, lab: str, student: str) -> Path:
        """Digests of the answers that a person's marks belong to.

        Not in autograded/, which nbgrader deletes before it grades.
        """
        return self.root / "marked" / lab / f"{student}.json"

    def feedback(self, lab: str, student: str) -> Path:
        return self.root / "feedback" / student / lab / f"{lab}.html"

    def result(self, lab: str, student: str) -> Path:
        return self.root / "results" / lab / f"{student}.json"

    def students(self, lab: str) -> list[str]:
        """The ids of those whose submission was collected, whether it could be unpacked or not."""
        submitted = {
            path.parent.name
            for path in self.root.glob(f"submitted/*/{glob.escape(lab)}")
            if path.is_dir()
        }
        return sorted(submitted | set(self.collected(lab)))

    def collected(self, lab: str) -> dict[str, dict]:
        """What `collect` noted: {student: {"name": "", "notes": [], "flags": [], "problem": ""}}.

        flags: what a person has to review. problem: why the files could not be unpacked.
        """
        path = self.root / "collected" / f"{lab}.json"
        if not path.is_file():
            return {}
        entries = _stored(path, "collect")
        return {student: _renamed(entry) for student, entry in entries.items()}

    def results(self, lab: str) -> list["Result"]:
        return [Result.read(path) for path in sorted((self.root / "results" / lab).glob("*.json"))]

    @cached_property
    def database(self) -> str:
        return f"sqlite:///{self.plain_root / 'gradebook.db'}?timeout=60"

    @cached_property
    def plain_root(self) -> Path:
        """The course under a path that nbgrader and SQLite can read.

        Brackets and % are special characters there.
        """
        if re.fullmatch(r"[\w./ -]+", str(self.root)):
            return self.root
        return _link_to(self.root)


@cache
def _link_to(root: Path) -> Path:
    folder = tempfile.TemporaryDirectory(prefix="course-")
    atexit.register(folder.cleanup)
    link = Path(folder.name, "course")
    link.symlink_to(root)
    return link


def write_whole(path: Path, text: str) -> None:
    """Save `text` at `path`, whole or not at all, also in place of a read-only file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        # half a character cannot be saved; it is replaced, so that grading continues
        part.write_bytes(text.encode("utf-8", "replace"))


@dataclass
class Result:
    """What became of one submission.

    `problem` is the reason why it could not be graded. Then it has no points, which is not 0.
    """

    student: str
    lab: str
    problem: str = ""
    questions: dict[str, dict] = field(default_factory=dict)  # grade_id: a Verdict as a dict
    notes: list[str] = field(default_factory=list)  # what was repaired
    flags: list[str] = field(default_factory=list)  # what a person has to review
    other_id: str | None = None  # the student_id in the notebook, if it differs from the one graded
    untouched: list[str] = field(default_factory=list)  # unchanged answers, which earn 0
    # grade_id: digest of what a person's mark is about
    texts: dict[str, str] = field(default_factory=dict)
    notebook: str = ""  # as executed, JSON
    cpu_s: float = 0.0
    wall_s: float = 0.0
    graded_at: str = ""
    # of the submission and the checks; if it changes, the submission is graded again
    digest: str = ""

    @property
    def points(self) -> float | None:
        if self.problem:
            return None
        return sum(q["points"] for q in self.questions.values())

    def write(self, path: Path) -> None:
        """Save at `path`, whole or not at all."""
        write_whole(path, json.dumps(dataclasses.asdict(self), ensure_ascii=False))

    @classmethod
    def read(cls, path: Path) -> "Result":
        return cls(**_renamed(_stored(path, "grade")))


def _stored(path: Path, command: str) -> dict:
    """The JSON object that `command` stored; CourseError if the file is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CourseError(
            f"{path} is damaged ({error}): delete it, then run `{command}` again"
        ) from error


def _renamed(stored: dict) -> dict:
    """`stored` with today's names: earlier versions saved its flags as "look"."""
    if "look" in stored:
        stored["flags"] = stored.pop("look")
    return stored


def digest(course: Course, lab: str, student: str) -> str:
    """Changes with the submitted files and with the lab's checks and notebook."""
    total = hashlib.sha256()
    for folder in (course.submitted(lab, student), course.source(lab)):
        for name in listed(folder):
            path = folder / name
            if path.suffix != ".md" or folder != course.source(lab):
                total.update(f"{name}\0{path.stat().st_size}\0".encode("utf-8", "replace"))
                total.update(path.read_bytes())
    return total.hexdigest()
