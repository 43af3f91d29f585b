"""Three states of a file: it works, its answers are wrong, or there is no file.

The answers of a file are compared with those of MODEL for all examples:

- float32: wrong if an answer differs by more than 0.1 % of that example's largest answer, or if
  more than 1 % of the examples, and more than one, change their class.
- float16: the same with 2 %, because these numbers have three digits.
- int8, with class numbers to check: never by its difference, which is large in every int8 file.
  Accuracies are compared on the same examples. It is wrong if its accuracy is surely below 99 % of
  MODEL's: if the whole 95 % interval of the paired difference is. 99 % is the limit of MLPerf
  Inference (Reddi et al., 2020).
- int8, otherwise: wrong if its answers are constant or its RMS error is more than half of the
  standard deviation of MODEL's answers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from helpers import metrics
from modelfiles.conversion import compare
from modelfiles.errors import reason
from workbook.evaluate.quality import AnswersError

if TYPE_CHECKING:
    import torch

    from workbook.evaluate.candidates import Candidate

WORKS = "works"
WRONG = "wrong"
FAILS = "fails"
TITLES = {WORKS: "works", WRONG: "converts, but answers wrong", FAILS: "cannot be converted"}

LIMITS = {"float32": compare.FLOAT_TOLERANCE, "float16": compare.HALF_TOLERANCE}
CHANGED = {"float32": 0.01, "float16": 0.02}  # the share of examples that may change their class
KEPT_ACCURACY = 0.99  # of MODEL's accuracy, in int8


@dataclass(frozen=True)
class Verdict:
    """The state of a file, and what its answers were compared by; None if it was not compared.

    `difference` is the largest difference from MODEL's answers, `relative` the same divided by the
    largest of these. `changed` examples of `compared` have another class than with MODEL. `paired`
    compares accuracies on the same examples, MODEL's first.
    """

    state: str
    why: str = ""
    difference: float | None = None
    relative: float | None = None
    changed: int | None = None
    compared: int | None = None
    paired: metrics.Paired | None = None


def judge(
    answers: np.ndarray,
    wanted: np.ndarray,
    precision: str,
    labels: np.ndarray | None = None,
) -> Verdict:
    """Compare the `answers` of a file with MODEL's, `wanted`, both N x outputs.

    `labels` are the N right class numbers of a classification, else None.
    """
    difference, largest = compare.largest_difference(answers, wanted)
    if difference is None or largest is None:
        return Verdict(WRONG, compare.float_fault(answers, wanted) or "its answers are not finite")
    changed = None
    paired = None
    found = _classes(answers)
    right = _classes(wanted)
    if labels is not None and found is not None and right is not None:
        changed = int((found != right).sum())
        paired = metrics.mcnemar(labels.astype(np.int64), a=right, b=found)
    if precision in LIMITS:
        why = _float_fault(answers, wanted, precision, changed)
    elif paired is not None and labels is not None:
        why = _lost_accuracy(paired, float(np.mean(right == labels)))
    else:
        why = compare.int8_fault(answers, wanted) or ""
    return Verdict(
        WRONG if why else WORKS,
        why,
        difference,
        difference / largest if largest else None,
        changed,
        len(wanted),
        paired,
    )


def of_all(
    answers: Mapping["Candidate", np.ndarray],
    precisions: Mapping["Candidate", str],
    reference: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> dict["Candidate", Verdict]:
    """The verdict on each candidate's `answers`.

    They are compared with `reference`, or without it with the answers of MODEL's own file, or else
    with those of the first float32 file.
    """
    if not answers:
        return {}
    if reference is None:
        own = [one for one in answers if one.is_source]
        floats = [one for one in answers if precisions[one] == "float32"]
        reference = answers[[*own, *floats, *answers][0]]
    return {
        candidate: judge(found, reference, precisions[candidate], labels)
        for candidate, found in answers.items()
    }


def _classes(answers: np.ndarray) -> np.ndarray | None:
    """The class of each example, from class numbers or N x classes."""
    if answers.ndim == 1 and answers.dtype.kind in "iu":
        return answers.astype(np.int64)
    if answers.ndim == 2 and answers.shape[1] > 1:
        return answers.argmax(axis=1)
    return None


def _float_fault(
    answers: np.ndarray, wanted: np.ndarray, precision: str, changed: int | None
) -> str:
    """What is wrong with float answers, in words; "" for nothing."""
    fault = compare.float_fault(answers, wanted, LIMITS[precision])
    if fault:
        return fault
    n = len(wanted)
    if changed is not None and changed > max(1, CHANGED[precision] * n):
        return f"{changed} of {n} examples change their class"
    return ""


def _lost_accuracy(paired: metrics.Paired, accuracy: float) -> str:
    """What int8 lost, if that is surely more than a hundredth of MODEL's `accuracy`."""
    if paired.high < -(1 - KEPT_ACCURACY) * accuracy:
        return f"it loses accuracy: {paired}"
    return ""


def of_model(network: "torch.nn.Module", x: np.ndarray) -> np.ndarray:
    """The answers of a PyTorch network, N x outputs, one example a call as in the race.

    AnswersError if it cannot compute them.
    """
    import torch

    from modelfiles.conversion import inputs

    try:
        answers = [inputs.run(network, call) for call in torch.from_numpy(x).split(1)]
    except Exception as error:  # the network is the user's: it may raise anything
        raise AnswersError(
            f"MODEL cannot compute an example of DATA, {x[:1].shape}: {reason(error)}"
        ) from error
    return np.concatenate(answers)
