"""Grading on several machines with dask.

    python -m labs.grading.dask_grading LAB SCHEDULER    # for example tcp://192.168.1.20:8786

The workers only read the course and compute; this process alone writes. Every worker runs on
Linux with bubblewrap, in a copy of this repository, and sees the course's folder under the same
path. Start them as an unprivileged user, on a network that you trust: dask itself asks for
no password.
"""

import sys

from labs.grading.autograde import grade_one, is_done
from labs.grading.course import Course, Result
from labs.grading.report import gradebook
from labs.grading.sandbox.limits import DEFAULT_LIMITS, Limits


def grade_on(
    client, course: Course, lab: str, jail: bool = True, limits: Limits = DEFAULT_LIMITS
) -> list[Result]:
    """Grade what is not graded yet on the workers of `client`, a distributed.Client.

    Each result is saved when it arrives.
    """
    from distributed import as_completed

    todo = [student for student in course.students(lab) if not is_done(course, lab, student)]
    futures = [
        client.submit(grade_one, str(course.root), lab, student, jail, limits, pure=False)
        for student in todo
    ]
    graded = []
    for future in as_completed(futures):
        result = future.result()
        result.write(course.result(lab, result.student))
        graded.append(result)
    gradebook.write(course, lab, course.results(lab))
    return graded


if __name__ == "__main__":
    from distributed import Client

    with Client(sys.argv[2]) as cluster:
        print(f"{len(grade_on(cluster, Course(), sys.argv[1]))} graded")
