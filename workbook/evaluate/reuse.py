"""The files to race: kept ones if nothing has changed, and new conversions of the others."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from workbook.evaluate import candidates, kept
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.conversions import ENDINGS
from workbook.evaluate.runtimes import RUNTIMES, runtime_of
from workbook.evaluate.source import Source, possible_runtimes


def find(
    model: str,
    source: Callable[[], Source],
    runtimes: Sequence[str] | None,
    example: np.ndarray,
    folder: Path,
    calibration: np.ndarray | None,
    say: Callable[[str], None],
    half: bool = False,
) -> list[Candidate]:
    """A Candidate for each file, MODEL's own first, then the float files, then the others.

    `runtimes` is None for all that MODEL can be used in. `source` loads MODEL; for a network it is
    called only if a file is missing. The other arguments are those of candidates.
    """
    own = runtime_of(Path(model))
    names = list(dict.fromkeys(runtimes or possible(model, source)))
    found = []
    missing = names
    if own and Path(model).is_file():
        missing = []
        for runtime in names:
            current = kept_files(Path(model), runtime, example, folder, calibration, half)
            if all(_is_there(path, recipe) for _, path, recipe in current):
                found += [
                    _candidate(runtime, precision, path, is_source=path == Path(model))
                    for precision, path, _ in current
                ]
            else:
                missing.append(runtime)
    reused = sum(candidate.path != Path(model) for candidate in found)
    if reused:
        say(f"{reused} converted files are used again: their source and converters are the same")
    if missing:
        found += _convert(source(), missing, example, folder, calibration, say, half)
    return sorted(found, key=lambda one: _order(one, model, names))


def possible(model: str, source: Callable[[], Source]) -> list[str]:
    """The runtimes that MODEL can be used in; a network is not loaded to know that."""
    if runtime_of(Path(model)) == "torch" and Path(model).is_file():
        return [name for name, runtime in RUNTIMES.items() if runtime.usual]
    return possible_runtimes(source())


def kept_files(
    model: Path,
    runtime: str,
    example: np.ndarray,
    folder: Path,
    calibration: np.ndarray | None,
    half: bool = False,
) -> list[tuple[str, Path, dict | None]]:
    """The files for a runtime: (precision, path, recipe). The recipe of MODEL itself is None."""
    own = runtime_of(model)
    assert own is not None
    name = model.name[: -len(RUNTIMES[own].suffix)]
    suffix = RUNTIMES[runtime].suffix
    forms: dict[str, dict] = {"float32": {}}
    if half and RUNTIMES[runtime].has_half:
        forms["float16"] = {}
    if calibration is not None and RUNTIMES[runtime].has_int8:
        inputs = [list(calibration.shape), kept.hash_of(calibration.tobytes())]
        forms["int8"] = {"calibration": inputs}
    files: list[tuple[str, Path, dict | None]] = []
    for precision, options in forms.items():
        if precision == "float32" and suffix == RUNTIMES[own].suffix:
            files.append((precision, model, None))
            continue
        path = folder / (name + ENDINGS[precision] + suffix)
        options |= {"shape": list(example.shape), "form": precision}
        files.append((precision, path, kept.recipe(suffix, model, **options)))
    return files


def _is_there(path: Path, recipe: dict | None) -> bool:
    return recipe is None or kept.is_current(path, recipe)


def _candidate(runtime: str, precision: str, path: Path, is_source: bool) -> Candidate:
    is_half = precision == "float16"
    return Candidate(runtime, precision == "int8", path, is_half=is_half, is_source=is_source)


def _convert(
    source: Source,
    runtimes: Sequence[str],
    example: np.ndarray,
    folder: Path,
    calibration: np.ndarray | None,
    say: Callable[[str], None],
    half: bool,
) -> list[Candidate]:
    """New files, each with a note of what it was made from if the source is a file."""
    found = []
    start = time.monotonic()
    for candidate in candidates.prepare(source, runtimes, example, folder, calibration, say, half):
        found.append(candidate)
        seconds = time.monotonic() - start
        start = time.monotonic()
        if not source.file or not runtime_of(source.file) or not candidate.path:
            continue
        made = kept_files(source.file, candidate.runtime, example, folder, calibration, half)
        for precision, path, recipe in made:
            if recipe and path == candidate.path and precision == candidate.precision:
                kept.remember(path, recipe, seconds)
    return found


def _order(candidate: Candidate, model: str, names: list[str]) -> tuple:
    is_own = candidate.path is not None and candidate.path == Path(model)
    precision = list(ENDINGS).index(candidate.precision)
    return not is_own, precision, names.index(candidate.runtime)
