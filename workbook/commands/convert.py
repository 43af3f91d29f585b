"""`workbook convert`: write a model file for another runtime, and check its answers."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from modelfiles.errors import WorkbookError
from workbook.arguments import UsageError
from workbook.evaluate.runtimes import RUNTIMES, runtime_of

EXAMPLES = """
examples:
  workbook convert mnist_cnn.pt2 mnist_cnn.onnx           ONNX, for ONNX Runtime
  workbook convert mnist_cnn.pt2 tflite                   mnist_cnn.tflite, for LiteRT
  workbook convert mnist_cnn.pt2 ncnn                     mnist_cnn.ncnn.param and .bin, for ncnn
  workbook convert mnist_cnn.onnx mnn                     mnist_cnn.mnn, for MNN
  workbook convert mnist_cnn.pt2 executorch               mnist_cnn.pte, for ExecuTorch
  workbook convert mnist_cnn.pt2 tflite --half            float16 weights
  workbook convert mnist_cnn.pt2 onnx --calibration train.npz    static int8
  workbook convert net.py:Net net.onnx --weights net.pt --shape 1 3 32 32
  workbook convert --matrix                               try every conversion, print a table

MODEL is a .pt2 or .onnx file, a file of another runtime for its own int8 or float16 form, a PyTorch
class, or a network known by name such as mobilenet_v2. The answers of each new file are compared
with MODEL's; a file with wrong answers is not kept.
"""


class ConvertError(WorkbookError):
    """The file cannot be read or written."""


def add_to(commands) -> None:
    """Add `convert` to the commands of `workbook`."""
    parser = commands.add_parser(
        "convert",
        help="write a model file for another runtime, and check its answers",
        description="Write a model file for another runtime, and check its answers.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", nargs="?")
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help=f"a file, or one of {', '.join(RUNTIMES)}"
    )
    parser.add_argument("--weights", metavar="FILE.pt", help="of the class: a state_dict")
    parser.add_argument("--shape", type=int, nargs="+", help="of one input, such as 1 3 224 224")
    parser.add_argument("--half", action="store_true", help="float16 weights")
    parser.add_argument("--calibration", metavar="DATA", help="int8, with ranges from DATA")
    parser.add_argument(
        "--matrix", action="store_true", help="try every conversion with a small network"
    )
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Convert one model, or print the matrix."""
    if options.matrix:
        from workbook.commands import matrix

        print(matrix.as_markdown(matrix.tried(_say)))
        return 0
    if not options.model or not options.target:
        raise UsageError("give MODEL and TARGET, or --matrix")
    if options.half and options.calibration:
        raise UsageError("--half and --calibration are two forms: convert twice")
    start = time.perf_counter()
    written = _convert(options)
    size = sum(path.stat().st_size for path in written)
    print(f"Time: {time.perf_counter() - start:.3g} s")
    names = " and ".join(str(path) for path in written)
    print(f"Written: {names} ({size / 1e3:,.0f} kB); its answers agree with {options.model}")
    return 0


def _convert(options: argparse.Namespace) -> list[Path]:
    """The files that were written; ConvertError with the reason if there are none."""
    from helpers.model_files import parts_of
    from workbook.evaluate import examples, named
    from workbook.evaluate.conversions import Conversions, Wanted
    from workbook.evaluate.source import source_of

    if options.model in named.NAMES:
        source, said = named.source(options.model)
        _say(said)
    else:
        source = source_of(options.model, options.weights)
    precision = _form(options)
    runtime, target = _target(options.target, source.name, precision)
    calibration = None
    if options.calibration:
        calibration = examples.read(options.calibration).x
    if source.runtime == runtime and precision == "float32":
        raise UsageError(f"{options.model} is a file for {runtime} already")
    example = _example(options, source, calibration)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        work = Conversions(source, example, Path(folder), calibration)
        made = work.write(Wanted(runtime, precision))
        if made.path is None:
            raise ConvertError(made.problem)
        pairs = zip(made.parts, parts_of(target))
        return [part.replace(final) for part, final in pairs]


def _form(options: argparse.Namespace) -> str:
    if options.calibration:
        return "int8"
    return "float16" if options.half else "float32"


def _target(text: str, name: str, precision: str) -> tuple[str, Path]:
    """The runtime, and the file to write."""
    from workbook.evaluate.conversions import ENDINGS

    if text in RUNTIMES:
        runtime = text
        path = Path(name + ENDINGS[precision] + RUNTIMES[text].suffix)
    else:
        path = Path(text)
        found = runtime_of(path)
        if found is None:
            known = ", ".join(runtime.suffix for runtime in RUNTIMES.values())
            raise UsageError(f"{path.name} must end in {known}, or be one of {', '.join(RUNTIMES)}")
        runtime = found
    if not path.parent.is_dir():
        raise UsageError(f"the folder {path.parent} does not exist")
    forms = RUNTIMES[runtime]
    if precision == "float16" and not forms.has_half:
        raise UsageError(f"{forms.title} has no float16 form here")
    if runtime == "executorch" and precision == "int8" and "_int8." not in path.name:
        raise UsageError("name it NAME_int8.pte: ExecuTorch's files do not contain their precision")
    if precision == "int8" and not forms.has_int8:
        raise UsageError(f"{forms.title} has no int8 form here")
    return runtime, path


def _example(options: argparse.Namespace, source, calibration):
    """One input, float32: from --shape, the calibration data, or MODEL itself."""
    import numpy as np

    from workbook.evaluate import named

    if options.shape:
        shape = tuple(options.shape)
    elif calibration is not None:
        shape = (1, *calibration.shape[1:])
    elif options.model in named.NAMES:
        shape = (1, *named.SHAPE)
    elif source.file is not None:
        shape = _shape_in(source.file)
    else:
        raise UsageError("a PyTorch class needs --shape, such as --shape 1 3 224 224")
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def _shape_in(file: Path) -> tuple[int, ...]:
    """The shape of one input in a model file; its first axis is 1."""
    from helpers.runtimes import open_model

    try:
        shape = open_model(file).input_shape
    except (ValueError, ImportError) as error:
        raise ConvertError(str(error)) from error
    if shape is None or None in shape[1:]:
        raise UsageError(f"{file.name} leaves the size of its input free: give --shape")
    return (1, *(int(size) for size in shape[1:] if size is not None))


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)
