"""nbgrader's settings, for the grader and for the formgrader (start JupyterLab in this folder)."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.append(ROOT)  # for labs.grading

c = get_config()  # noqa: F821  (nbgrader defines it)
c.CourseDirectory.course_id = "pi-workbook"
# what is next to a lab's notebook and must not be released
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.pyc", "hidden.py", "rubric.md"]
c.ClearSolutions.code_stub = {
    "python": "raise NotImplementedError  # replace this line by your solution"
}
c.HTMLExporter.require_js_url = c.HTMLExporter.jquery_url = (
    ""  # feedback pages run no scripts but MathJax
)
# nbgrader's own steps run submissions unprotected; SandboxedChecks also repairs what its
# sanitizing steps repair
c.Autograde.sanitize_preprocessors = []
c.Autograde.autograde_preprocessors = ["labs.grading.preprocessor.SandboxedChecks"]
