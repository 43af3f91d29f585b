"""The options of `workbook evaluate`."""

import argparse
from pathlib import Path

from workbook.evaluate.runtimes import RUNTIMES

EXAMPLES = """
examples:
  workbook evaluate build/models/mnist_cnn.pt2 digits.npz
  workbook evaluate net.onnx digits.npz --runtimes onnx mnn --threads 2
  workbook evaluate net.py:Net digits.npz --weights net.pt
  workbook evaluate net.pt2 digits.npz --half      float16 files, too
  workbook evaluate mobilenet_v2 --published --html mobilenet_v2.html
                                                   one chart, and published figures apart
  workbook evaluate net.pt2 digits.npz --calibration train.npz --max-mb 1 --min-accuracy 0.98
  workbook evaluate net.pt2 digits.npz --plan      what would run, and how long; nothing runs
  workbook evaluate net.onnx digits.npz --tune     search faster settings for each file
  workbook evaluate net.onnx digits.npz --host pi@raspberrypi.local --html table.html

MODEL is a file of one of the runtimes, a SavedModel folder or .keras file of TensorFlow, or a
PyTorch class, FILE.py:CLASS. Such a FILE.py is executed, so it must be your own. Model files are
opened in processes with limits of time and memory, and nothing is unpickled. That is no sandbox: a
.pt2 file or a SavedModel can contain code, so use only those that you trust. Some networks are
known by name: resnet18, resnet50, mobilenet_v2, mobilenet_v3_small, mobilenet_v3_small_075,
mobilenet_v3_large, efficientnet_b0.

DATA is an .npz file with the arrays x_data and y_data, a folder that has a folder of images for
each class, or a folder with MNIST's IDX files. For --task detection it is a folder of photographs
with labels in COCO's format, or the .json file of the labels.

exit status: 0 at least one file works, 1 no file works or something failed (it is named), 2 wrong
arguments, 130 interrupted
"""


def add_to(commands) -> argparse.ArgumentParser:
    """Add `evaluate` to the commands of `workbook`."""
    parser = commands.add_parser(
        "evaluate",
        help="convert, check and race a model of your own in several runtimes",
        description="Convert a model for several runtimes, check each file, and race them.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model file, or FILE.py:CLASS")
    parser.add_argument(
        "data",
        metavar="DATA",
        nargs="?",
        help="an .npz file or a folder; without it, a network known by name gets random images, "
        "and no accuracy",
    )
    parser.add_argument("--weights", metavar="FILE.pt", help="of the class: a state_dict")
    parser.add_argument(
        "--runtimes", nargs="+", choices=RUNTIMES, help="default: all that MODEL can be used in"
    )
    parser.add_argument("--task", choices=("classification", "regression", "detection"))
    parser.add_argument(
        "--also",
        nargs="+",
        metavar="FILE",
        default=[],
        help="files of the same network to race; they are compared, not judged",
    )
    parser.add_argument(
        "--softmax",
        action="store_true",
        help="compare probabilities instead of logits; accuracy does not change",
    )
    parser.add_argument(
        "--pixels",
        choices=("unit", "signed", "raw", "mnist", "imagenet"),
        help="images become 0 to 1, -1 to 1, 0 to 255, or normalized as for MNIST or ImageNet; "
        "default: unit, for IDX files mnist",
    )
    parser.add_argument("--armnn-path", metavar="LIB", help="libarmnnDelegate.so, for armnn")
    parser.add_argument("--limit-seconds", type=float, help="for an answer of a model's process")
    parser.add_argument("--limit-gb", type=float, help="memory of a model's process")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of x_data")
    parser.add_argument(
        "--calibration", metavar="DATA", help="quantize to int8, with ranges from these examples"
    )
    parser.add_argument(
        "--half", action="store_true", help="also float16 forms; they need no calibration"
    )
    _add_run_to(parser)
    _add_output_to(parser)
    parser.set_defaults(task="classification")
    return parser


def _add_run_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--threads", type=int, default=1, help="threads of each runtime")
    parser.add_argument("--rounds", type=int, default=20, help="rounds of the race")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--convert-only", action="store_true", help="convert and check, no race")
    what.add_argument(
        "--plan", action="store_true", help="say what would run, how long, and if memory suffices"
    )
    what.add_argument(
        "--tune", action="store_true", help="search faster settings for each file, no race"
    )
    parser.add_argument(
        "--host",
        nargs="+",
        metavar="HOST",
        help="run on one Pi or several, such as pi@raspberrypi.local; files are converted here",
    )


def _add_output_to(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--max-ms", type=float, help="budget: p50 in milliseconds")
    parser.add_argument("--max-mb", type=float, help="budget: megabytes of the file")
    parser.add_argument("--min-accuracy", type=float, help="budget: accuracy, from 0 to 1")
    parser.add_argument(
        "--published",
        action="store_true",
        help="below the table, what others have published for this network",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the rows to this file, too")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with pictures")
