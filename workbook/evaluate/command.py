"""`workbook evaluate MODEL DATA`: the order of events."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING

from modelfiles.errors import EXIT_INTERRUPTED, WorkbookError
from workbook.arguments import UsageError, check_rounds, check_threads
from workbook.evaluate import options as command_options

if TYPE_CHECKING:
    import numpy as np


class Interrupted(WorkbookError):
    """Ctrl-C, and what is kept."""

    exit_code = EXIT_INTERRUPTED


def add_to(commands) -> None:
    """Add `evaluate` to the commands of `workbook`."""
    command_options.add_to(commands).set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Evaluate; 1 if no file could be measured or converted."""
    _check(options)
    _say(f"reading {options.data or options.model} ...")  # at once: the imports take seconds
    from workbook.evaluate import output

    with output.results_only() as stream:
        try:
            return _run(options, stream)
        except KeyboardInterrupt:
            kept = "Conversions that are finished are kept, and no record was stored."
            if options.tune:
                kept = "Records of measurements that are finished are kept."
            if options.host:
                kept = "The job is still running on the Pi; run the same command to reattach."
            raise Interrupted(f"Interrupted. {kept}") from None
        except OSError as error:
            raise WorkbookError(f"workbook evaluate stopped: {error}") from error


def _run(options: argparse.Namespace, stream: IO[str]) -> int:
    from helpers.paths import build_dir
    from workbook.evaluate import candidates, material, named, output, reuse, show

    if options.data is None and options.model not in named.NAMES:
        raise UsageError("DATA is missing: an .npz file with x_data and y_data, or a folder")
    for path in filter(None, (options.csv, options.html)):
        output.check_writable(path)
    loaded = material.load(options, _say)
    others = candidates.others(options.also)
    folder = build_dir("evaluate")
    if options.plan:
        return _plan(options, loaded, folder, stream)
    found = reuse.find(
        options.model,
        loaded.source,
        options.runtimes,
        loaded.data.x[:1],
        folder,
        loaded.calibration,
        _say,
        options.half,
    )
    found += others
    if options.convert_only:
        return show.conversions(found, stream)
    if options.host:
        return _on_hosts(options, found, loaded.data, stream)
    if options.tune:
        return _tune(options, found, loaded.data, stream)
    return _race(options, found, loaded, stream)


def _check(options: argparse.Namespace) -> None:
    check_rounds(options.rounds)
    check_threads(options.threads)
    for name in ("max_ms", "max_mb", "min_accuracy", "limit_seconds", "limit_gb"):
        value = getattr(options, name)
        # NaN is not above 0, either
        if value is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} must be above 0")
    if options.min_accuracy is not None and options.min_accuracy > 1:
        raise UsageError("--min-accuracy is a fraction from 0 to 1, such as 0.98")
    if options.host and (options.plan or options.convert_only):
        raise UsageError("--host races or tunes; leave out --plan and --convert-only")
    if options.tune and (options.csv or options.html):
        raise UsageError("--tune makes no table: use --json, without --csv and --html")
    if options.armnn_path:
        os.environ["ARMNN_DELEGATE"] = options.armnn_path  # the processes inherit it


def _plan(options: argparse.Namespace, loaded, folder: Path, stream: IO[str]) -> int:
    from workbook.evaluate import output, plan
    from workbook.free_memory import available_bytes

    text = plan.plan(
        options.model,
        loaded.source,
        options.runtimes,
        loaded.data.x,
        loaded.calibration,
        folder,
        options.threads,
        options.rounds,
        available_bytes(),
        options.half,
    )
    output.write(stream, text)
    return 0


def _race(options: argparse.Namespace, found: list, loaded, stream: IO[str]) -> int:
    from helpers import device
    from workbook.evaluate import on_host, race, rows, show

    stopped = None
    try:
        raced: Sequence = race.run(
            found,
            loaded.data,
            task=options.task,
            threads=options.threads,
            rounds=options.rounds,
            store=on_host.store(),
            limits=loaded.limits,
            softmax=options.softmax,
            reference=_reference(found, loaded),
            say=_say,
        )
    except race.RaceStopped as error:
        stopped = error
        raced = error.rows
    table = rows.with_ratios(raced)
    show.tables([("", table, device.describe())], options, stream)
    if stopped:
        raise stopped
    return int(not any(row.state == rows.WORKS for row in table))


def _reference(found: list, loaded) -> "np.ndarray | None":
    """MODEL's own answers if it is a network of which no file is raced."""
    from workbook.evaluate import verdicts

    if any(one.is_source for one in found):
        return None
    network = loaded.source().network
    return None if network is None else verdicts.of_model(network, loaded.data.x)


def _tune(options: argparse.Namespace, found: list, data, stream: IO[str]) -> int:
    from workbook.evaluate import on_host, show, tuning

    tuned = tuning.run(
        found,
        data,
        threads=options.threads,
        rounds=options.rounds,
        store=on_host.store(),
        say=_say,
    )
    show.tuned([("", tuned)], options, stream)
    return int(not any("ratio" in row for row in tuned))


def _on_hosts(options: argparse.Namespace, found: list, data, stream: IO[str]) -> int:
    from workbook.evaluate import hosts, show
    from workbook.pi.commands import require_openssh

    require_openssh()
    answers = hosts.run(
        options.host,
        found,
        data,
        task=options.task,
        threads=options.threads,
        rounds=options.rounds,
        tune=options.tune,
        say=_say,
    )
    show.hosts(answers, options, stream)
    return int(not all(answer.is_success for answer in answers))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
