"""The files that are raced: MODEL itself, and what it is converted to for other runtimes."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from helpers.model_files import parts_of
from workbook.evaluate import isolated
from workbook.evaluate.runtimes import RUNTIMES, runtime_of
from workbook.evaluate.source import CandidateError, Source
from workbook.evaluate.verdicts import FAILS, WORKS, WRONG


@dataclass(frozen=True)
class Candidate:
    """A runtime and its file; without a file, `problem` says why there is none.

    `is_wrong` says that a file was written, and deleted because its answers differ from MODEL's by
    up to `difference`. `is_source` marks MODEL's own file, `is_given` one that came by --also.
    """

    runtime: str
    is_int8: bool
    path: Path | None
    problem: str = ""
    is_half: bool = False
    is_wrong: bool = False
    difference: float | None = None
    is_source: bool = False
    is_given: bool = False

    @property
    def parts(self) -> list[Path]:
        """The files of the model; none without a file."""
        return parts_of(self.path) if self.path else []

    @property
    def precision(self) -> str:
        """The precision that was asked for: "float32", "float16" or "int8"."""
        if self.is_int8:
            return "int8"
        return "float16" if self.is_half else "float32"

    @property
    def state(self) -> str:
        """One of verdicts.TITLES, as far as the conversion shows."""
        if self.path:
            return WORKS
        return WRONG if self.is_wrong else FAILS


def prepare(
    source: Source,
    runtimes: Sequence[str],
    example: np.ndarray,
    folder: Path,
    calibration: np.ndarray | None = None,
    say: Callable[[str], None] = print,
    half: bool = False,
) -> Iterator[Candidate]:
    """A Candidate for each of `runtimes`, converted into `folder` where needed.

    `example` is one input, float32 with a first axis of 1. With `half`, the float16 forms follow,
    and with `calibration`, inputs of the same kind, the int8 forms. `say` is told what is being
    converted. What cannot be converted is a Candidate with the reason. Files are written in another
    process: a converter that crashes is a Candidate too.
    """
    from workbook.evaluate.conversions import Conversions, Wanted

    wanted = [Wanted(runtime, "float32") for runtime in runtimes if runtime != source.runtime]
    if half:
        wanted += [Wanted(name, "float16") for name in runtimes if RUNTIMES[name].has_half]
    if calibration is not None:
        wanted += [Wanted(name, "int8") for name in runtimes if RUNTIMES[name].has_int8]
    work = Conversions(source, example, folder, calibration)
    if source.runtime and source.runtime in runtimes:
        yield work.made[Wanted(source.runtime, "float32")]
    with closing(isolated.results(work.write, wanted)) as results:
        for item in wanted:
            say(f"{source.name}: converting for {item.title} ...")
            _, found = next(results)
            if isinstance(found, isolated.Crashed):
                found = work.failed(item, str(found))
            work.made[item] = found  # a second process copies it
            yield found


def others(files: Sequence[str]) -> list[Candidate]:
    """A Candidate for each of some model files, such as other forms of MODEL.

    CandidateError for a file that no runtime here reads.
    """
    found = []
    for file in files:
        path = Path(file)
        runtime = runtime_of(path)
        if runtime is None or not path.exists():
            raise CandidateError(f"{path} does not exist, or is no model file that is known here")
        is_half = "half" in path.stem
        found.append(Candidate(runtime, "int8" in path.stem, path, is_half=is_half, is_given=True))
    return found
