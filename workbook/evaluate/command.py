"""`workbook evaluate MODEL DATA`: its options, and the order of events."""

import argparse
import json
import sys

from modelfiles.errors import WorkbookError
from workbook.evaluate.runtimes import RUNTIMES

EXAMPLES = """
examples:
  workbook evaluate build/models/mnist_cnn.pt2 digits.npz
  workbook evaluate net.onnx digits.npz --runtimes onnx mnn --threads 2
  workbook evaluate net.py:Net digits.npz --weights net.pt
  workbook evaluate net.pt2 digits.npz --calibration train.npz --max-mb 1 --min-accuracy 0.98

MODEL is a file of one of the runtimes, or a PyTorch class, FILE.py:CLASS: then this Python file is
executed. DATA is an .npz file with the arrays x_data and y_data, or a folder that has a folder of
images for each class.
"""


class UsageError(WorkbookError):
    """An option has an impossible value."""

    exit_code = 2


def add_to(commands) -> None:
    """Add `evaluate` to the commands of `workbook`."""
    parser = commands.add_parser(
        "evaluate",
        help="convert, check and race a model of your own in several runtimes",
        description="Convert a model for several runtimes, check each file, and race them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model file, or FILE.py:CLASS")
    parser.add_argument("data", metavar="DATA", help="an .npz file, or a folder of images by class")
    parser.add_argument("--weights", metavar="FILE.pt", help="of the class: a state_dict")
    parser.add_argument(
        "--runtimes", nargs="+", choices=RUNTIMES, help="default: all that MODEL can be used in"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each runtime")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the race")
    parser.add_argument("--task", choices=("classification", "regression"))
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of x_data")
    parser.add_argument(
        "--calibration", metavar="DATA", help="quantize to int8, with ranges from these examples"
    )
    parser.add_argument("--convert-only", action="store_true", help="convert and check, no race")
    parser.add_argument("--max-ms", type=float, help="budget: p50 in milliseconds")
    parser.add_argument("--max-mb", type=float, help="budget: megabytes of the file")
    parser.add_argument("--min-accuracy", type=float, help="budget: accuracy, from 0 to 1")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.set_defaults(function=run, task="classification")


def run(options: argparse.Namespace) -> int:
    """Evaluate; 1 if no file could be measured or converted."""
    _check(options)
    _say(f"reading {options.data} ...")  # at once: the imports below take seconds
    from helpers.paths import build_dir
    from workbook.evaluate import candidates, examples

    data = examples.read(options.data, options.layout)
    calibration = None
    if options.calibration:
        calibration = examples.read(options.calibration, options.layout).x
    source = candidates.source_of(options.model, options.weights)
    runtimes = options.runtimes or candidates.possible_runtimes(source)
    found = list(
        candidates.prepare(
            source,
            list(dict.fromkeys(runtimes)),
            data.x[:1],
            build_dir("evaluate"),
            calibration,
            _say,
        )
    )
    if options.convert_only:
        return _report_conversions(found)
    return _race(options, found, data)


def _check(options: argparse.Namespace) -> None:
    if options.rounds < 6:
        raise UsageError("--rounds must be at least 6: fewer give no interval")
    if not 1 <= options.threads <= 256:
        raise UsageError("--threads must be from 1 to 256")


def _report_conversions(found: list) -> int:
    for candidate in found:
        form = "int8" if candidate.is_int8 else "float32"
        print(f"{candidate.runtime}, {form}: {candidate.path or candidate.problem}")
    return int(not any(candidate.path for candidate in found))


def _race(options: argparse.Namespace, found: list, data) -> int:
    from helpers import device
    from helpers.paths import build_path
    from workbook.evaluate import race, rows
    from workbook.evaluate.budget import Budget, advice

    _say(f"racing {sum(bool(one.path) for one in found)} files, {options.rounds} rounds ...")
    store = build_path("results", f"{device.describe()['machine_id'] or 'unknown'}.jsonl")
    raced = race.run(
        found,
        data,
        task=options.task,
        threads=options.threads,
        rounds=options.rounds,
        store=store,
    )
    table = rows.with_ratios(raced)
    budget = Budget(options.max_ms, options.max_mb, options.min_accuracy)
    if options.json:
        print(json.dumps(race.as_json(table), indent=1))
    else:
        print(rows.as_text(table))
        if budget:
            print(f"\n{advice(table, budget)}")
    return int(not any(row.state == rows.WORKS for row in table))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
