"""MODEL, DATA and the examples for calibration, as the options of the command describe them."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from modelfiles.limits import Limits
from workbook.evaluate import examples, named, opening
from workbook.evaluate.examples import Examples
from workbook.evaluate.source import CandidateError, Source, source_of


@dataclass(frozen=True)
class Material:
    """What is evaluated, and on what. `calibration` are inputs, None without --calibration.

    `source()` loads MODEL when it is first called, because a network needs torch, for seconds.
    """

    source: Callable[[], Source]
    data: Examples
    calibration: np.ndarray | None
    limits: Limits


def load(options: argparse.Namespace, say: Callable[[str], None]) -> Material:
    """Everything that the options name. A WorkbookError for what cannot be used."""
    limits = opening.limits(options.limit_seconds, options.limit_gb)
    if options.task == "detection":
        return _detection(options, limits, say)
    if options.data:
        data = examples.read(options.data, options.layout, options.pixels)
    else:
        data = named.random_examples(options.model)
    calibration = None
    if options.calibration:
        found = examples.read(options.calibration, options.layout, options.pixels, "train")
        calibration = found.x
    if options.model in named.NAMES:
        return Material(cache(partial(_named, options.model, say)), data, calibration, limits)
    return Material(_source(options, limits), data, calibration, limits)


def _named(name: str, say: Callable[[str], None]) -> Source:
    source, weights = named.source(name)
    say(weights)
    return source


def _source(options: argparse.Namespace, limits: Limits) -> Callable[[], Source]:
    return cache(partial(source_of, options.model, options.weights, limits))


def _detection(options: argparse.Namespace, limits: Limits, say: Callable[[str], None]) -> Material:
    from workbook.evaluate import coco_folder, detection

    labelled = coco_folder.read(options.data)
    if labelled.missing:
        say(f"{labelled.missing} of the listed images are missing, and are not evaluated")
    load_source = _source(options, limits)
    source = load_source()
    if source.file:
        kind = detection.kind_of_file(source.file, limits)
    elif source.network is not None:
        kind = detection.kind_of_network(source.network, source.name)
    else:
        raise CandidateError(
            "--task detection takes a PyTorch class or a model file; convert this one to .tflite "
            "with --convert-only first"
        )
    say(f"{source.name} is a {kind.layout.name} of {kind.height} x {kind.width}")
    calibration = None
    if options.calibration:
        photographs = coco_folder.read(options.calibration, "train")
        calibration = detection.examples(photographs, kind).x
    return Material(load_source, detection.examples(labelled, kind), calibration, limits)
