"""What to do about a file that cannot be converted, or whose answers are wrong."""

import re

from modelfiles.errors import WorkbookError, reason
from workbook.evaluate.runtimes import RUNTIMES

NEEDS_NETWORK = (
    "only a PyTorch network can be converted to it: give MODEL as .pt2, or as FILE.py:CLASS"
)
NO_FLOAT_FILE = "there is no float file to start from"
# what the reason of a failure contains: what to do about it
ADVICE = (
    (r"No module named|is not installed", "Install what this arrow needs: pip install '.[{name}]'"),
    (
        r"does not support these layers|Not Support|not supported|not implemented|[Uu]nsupported"
        r"|no kernel",
        "Replace this layer by others, or use a runtime that has it",
    ),
    (r"[Dd]ata-dependent|guard|cannot be converted alone|\.forward cannot", "Branches that depend "
     "on the numbers of an input cannot be exported: replace them by torch.where"),
    (r"takes one image per call", "Give one example per call: the race has batch 1"),
    (r"free size|dynamic", "Export the model with a fixed input size"),
    (r"is int8 already", "Start from the float file"),
    (r"ended its process|ends the process", "Report it to the converter's authors, with the model; "
     "or use another runtime"),
    (r"did not finish", "Try a smaller model, or a machine with more memory"),
    (r"[Nn]o space left", "Free some disk space, and run the command again"),
    (r"It fails in", "Replace this layer by others, or use a runtime that has it"),
)  # fmt: skip
WRONG_ANSWERS = "Do not ship this file. Replace the layer by others, or use another runtime"


def explained(runtime: str, problem: Exception | str) -> str:
    """The reason of a failed conversion for `runtime`, and what to do.

    >>> explained("ncnn", "ncnn does not support these layers: pnnx.Expression (e)")[-40:]
    'others, or use a runtime that has it.'
    """
    text = problem if isinstance(problem, str) else _words(problem)
    if text in (NEEDS_NETWORK, NO_FLOAT_FILE):
        return text
    extra = RUNTIMES[runtime].extra
    known = [(pattern, f"{advice.format(name=extra)}.") for pattern, advice in ADVICE]
    if text.endswith(tuple(advice for _, advice in known)):
        return text  # the reason of another conversion, which has its advice
    for pattern, advice in known:
        if re.search(pattern, text):
            return f"{_sentence(text)} {advice}"
    return text


def wrong(text: str, where: str = "") -> str:
    """The reason for wrong answers, with the sentence that names the layer, and what to do."""
    parts = [_sentence(text)]
    if where:
        parts.append(where)
    return " ".join([*parts, f"{WRONG_ANSWERS}."])


def _words(problem: Exception) -> str:
    if isinstance(problem, (WorkbookError, ImportError)):
        return str(problem)
    return reason(problem)


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."
