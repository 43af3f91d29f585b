"""`workbook timers`: the same file by our timer and by the one of its runtime's authors.

The two take turns, round by round, in processes of their own, so that they drift together. The
result is the ratio of the mean times of a call, with its interval.
"""

import argparse
import sys
from pathlib import Path

from modelfiles.errors import WorkbookError
from workbook.arguments import LEAST_ROUNDS, check_rounds, check_threads

EXAMPLES = """
examples:
  workbook timers mnist_cnn.tflite                 litert-benchmark, from LiteRT's own package
  BENCHMARK_MODEL=./linux_x86-64_benchmark_model workbook timers mnist_cnn.tflite
                                                   benchmark_model, LiteRT's program in C++
  BENCHNCNN=./benchncnn workbook timers mnist_cnn.ncnn.param
                                                   benchncnn, ncnn's own program

benchmark_model: the file PLATFORM_benchmark_model in the folder of nightly builds that
LiteRT's documentation names (linux_x86-64, linux_aarch64). Make it executable. These builds change
every day, so no SHA-256 is known beforehand: the one of your file is printed with the result.
benchncnn: it is not in ncnn's package. Build it from ncnn's repository: cmake with
-DNCNN_BUILD_BENCHMARK=ON.
"""


class TimerError(WorkbookError):
    """There is no other timer for the file, or it failed."""


def add_to(commands) -> None:
    """Add `timers` to the commands of `workbook`."""
    parser = commands.add_parser(
        "timers",
        help="time one file by our timer and by the one of its runtime's authors",
        description="Time one file by our timer and by the one of its runtime's authors.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="NAME.tflite or NAME.ncnn.param")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12, help=f"at least {LEAST_ROUNDS}")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print the means of both timers and their ratio."""
    check_rounds(options.rounds)
    check_threads(options.threads)
    path = Path(options.model)
    if not path.exists():
        raise TimerError(f"{path} does not exist")
    from helpers.workers import Worker
    from workbook.evaluate import other_timers

    timer = other_timers.timer_for(path)
    print(f"timing by {timer.name}, {options.rounds} rounds ...", file=sys.stderr, flush=True)
    try:
        with Worker(path, options.threads) as worker:
            pairs = other_timers.take_turns(timer, worker, options.rounds)
    except (RuntimeError, ValueError) as error:
        raise TimerError(str(error)) from error
    print(report(timer.name, timer.remark, pairs))
    return 0


def report(name: str, remark: str, pairs) -> str:
    """The result in words; `pairs` are rounds x 2 mean times of a call in ms: theirs, ours."""
    from workbook.evaluate import other_timers

    if (pairs[:, 0] <= 0).any():
        raise TimerError(f"{name} reports 0 ms: this file is too fast for its resolution")
    theirs, ours = pairs.mean(axis=0)
    ratio = other_timers.ratio(pairs)
    lines = [
        f"{name}: {theirs:.4g} ms per call (mean of {len(pairs)} rounds)",
        f"workbook: {ours:.4g} ms per call",
        f"theirs / ours: {ratio.value:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]",
    ]
    return "\n".join([*lines, *([remark] if remark else [])])
