"""`workbook accuracy`: one model file on the 1,000 test images, or on your own data."""

import argparse
import time
from pathlib import Path

from modelfiles.errors import WorkbookError

EXAMPLES = """
examples:
  workbook accuracy mnist_cnn.pt2                  PyTorch
  workbook accuracy mnist_cnn.torchscript          TorchScript
  workbook accuracy mnist_cnn.onnx                 ONNX Runtime
  workbook accuracy mnist_cnn.tflite               LiteRT
  workbook accuracy mnist_cnn.ncnn.param           ncnn
  workbook accuracy mnist_cnn.mnn                  MNN
  workbook accuracy mnist_cnn.pte                  ExecuTorch
  workbook accuracy net.py:Net --weights net.pt    a PyTorch class; its Python file is executed
  workbook accuracy net.onnx digits.npz            your own data

It prints the time of all calls, one example per call, and the accuracy:

  Time: 0.143 s
  Accuracy: 988/1000 (99%)

For a latency that you can trust, use `workbook evaluate`.
"""


class AccuracyError(WorkbookError):
    """The file or the data cannot be used."""


def add_to(commands) -> None:
    """Add `accuracy` to the commands of `workbook`."""
    parser = commands.add_parser(
        "accuracy",
        help="the time and the accuracy of one model file, in two lines",
        description="Run one model file on the 1,000 test images of MNIST, or on DATA.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", metavar="MODEL", help="a model file, or FILE.py:CLASS")
    parser.add_argument("data", metavar="DATA", nargs="?", help="as for `workbook evaluate`")
    parser.add_argument("--weights", metavar="FILE.pt", help="of the class: a state_dict")
    parser.add_argument("--threads", type=int, default=1)
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print the two lines."""
    import numpy as np

    from helpers.data import mnist, normalize
    from workbook.evaluate import examples

    if options.data:
        data = examples.read(options.data)
    else:
        test = mnist("test")
        data = examples.Examples(normalize(test.images), test.labels)
    call = _call(options, data.x[:1])
    call(data.x[:1])  # the first call also allocates memory
    answers = []
    start = time.perf_counter()
    for i in range(len(data.x)):
        answers.append(call(data.x[i : i + 1]))
    seconds = time.perf_counter() - start
    found = np.concatenate(answers)
    classes = found.argmax(axis=1) if found.ndim == 2 else found
    if found.ndim > 2 or data.y is None:
        raise AccuracyError(f"a classifier's answers are N x classes, not {found.shape}")
    print(two_lines(seconds, int((classes == data.y).sum()), len(data.y)))
    return 0


def two_lines(seconds: float, right: int, n: int) -> str:
    """The result in the form of the scripts that the workbook grew out of.

    >>> print(two_lines(2.4196, 988, 1000))
    Time: 2.42 s
    Accuracy: 988/1000 (99%)
    """
    per_cent = round(100 * right / n)
    if right < n:
        per_cent = min(per_cent, 99)  # 995 of 1,000 are not 100 %
    return f"Time: {seconds:.3g} s\nAccuracy: {right}/{n} ({per_cent}%)"


def _call(options: argparse.Namespace, example):
    """The function from one example, float32 with a first axis of 1, to its answers."""
    if ".py:" in options.model:
        import torch

        from modelfiles.conversion import inputs
        from workbook.evaluate import network

        made = network.from_class(options.model, options.weights)
        torch.set_num_threads(options.threads)
        return lambda x: inputs.run(made, torch.from_numpy(x))
    if options.weights:
        raise AccuracyError("--weights belongs to a PyTorch class, FILE.py:CLASS")
    from helpers.runtimes import open_model

    if not Path(options.model).exists():
        raise AccuracyError(f"{options.model} does not exist")
    try:
        model = open_model(options.model, options.threads)
        model.predict(example)
    except (ValueError, ImportError) as error:
        raise AccuracyError(str(error)) from error
    return model.predict
