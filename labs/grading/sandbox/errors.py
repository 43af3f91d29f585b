"""What goes wrong when a submission runs: by its own fault, or by the grader's."""


class StudentError(Exception):
    """A student's function or file failed; the text is for the student."""


class GraderError(RuntimeError):
    """The grader's own machinery failed; the submission is not graded, which is not 0 points."""
