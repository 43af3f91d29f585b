"""ncnn's pair of files, by pnnx: NAME.ncnn.param has the layers, NAME.ncnn.bin the weights.

A line of NAME.ncnn.param is one layer: type, name, number of inputs, number of outputs, their
names, and parameters as key=value.
"""

import os
import tempfile
from pathlib import Path

import torch

from modelfiles.conversion import tracing
from modelfiles.errors import ConversionError, ExplainedError
from modelfiles.programs import ProgramFailed, run_program

# layers that write to new memory; others work in place or return their input
COPYING = ("Convolution", "ConvolutionDepthWise", "Pooling")


class _Copies(torch.nn.Module):
    """A network after a 1 x 1 max pooling, which copies the image."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.training = False
        self.network = network

    def forward(self, x: torch.Tensor) -> object:
        return self.network(torch.nn.functional.max_pool2d(x, 1))


def write(
    network: torch.nn.Module, example: torch.Tensor, scratch: Path, half: bool = False
) -> None:
    """Write `network` to `scratch`, NAME.ncnn.param, and the weights next to it.

    With `half` the weights are float16.
    """
    if len(example) != 1:
        raise ExplainedError(f"ncnn takes one image per call, and the example has {len(example)}.")
    _run_pnnx(network, example, scratch, half)
    if example.ndim == 4 and not _starts_with_a_copy(_layers(scratch)):
        # ncnn would overwrite the caller's image or crash, and pnnx would keep the batch axis
        _run_pnnx(_Copies(network), example, scratch, half)
    layers = _layers(scratch)
    unknown = [layer for layer in layers if "." in layer[0] or "::" in layer[0]]
    if unknown:
        names = ", ".join(f"{kind} ({name})" for kind, name, *_ in unknown)
        raise ExplainedError(f"ncnn does not support these layers: {names}")
    # pnnx does not write the input's size: the last axis is number 0, that before it 1, ...
    fields = [f"{number}={size}" for number, size in enumerate(reversed(example.shape[1:]))]
    entry = " ".join(["in0", *fields])
    text = scratch.read_text()
    scratch.write_text(text.replace(" 0 1 in0\n", f" 0 1 {entry}\n", 1))


def _run_pnnx(network: torch.nn.Module, example: torch.Tensor, scratch: Path, half: bool) -> None:
    import pnnx

    shape = ",".join(map(str, example.shape))
    with tempfile.TemporaryDirectory() as folder:
        stem = os.path.join(folder, "model")
        tracing.trace(network, example).save(stem + ".pt")
        # pnnx.export would also run the Python that pnnx writes, which fails for layers named 0, 1
        command = [
            pnnx.EXEC_PATH,
            stem + ".pt",
            f"inputshape=[{shape}]f32",
            f"fp16={int(half)}",  # 1 halves the file and changes the third digit of the logits
            f"ncnnparam={scratch}",
            f"ncnnbin={scratch.with_suffix('.bin')}",
            f"ncnnpy={stem}_ncnn.py",
            f"pnnxparam={stem}.pnnx.param",
            f"pnnxbin={stem}.pnnx.bin",
            f"pnnxpy={stem}_pnnx.py",
            f"pnnxonnx={stem}.onnx",
        ]
        try:
            output = run_program(command, "pnnx")
        except ProgramFailed as error:
            raise ConversionError(str(error)) from error
    if not scratch.exists():
        raise ConversionError(f"pnnx wrote no file: {output.strip()[-200:] or 'no output'}")


def _layers(scratch: Path) -> list[list[str]]:
    """The lines of the .param file, split into words."""
    return [line.split() for line in scratch.read_text().splitlines()[2:] if line.strip()]


def _starts_with_a_copy(layers: list[list[str]]) -> bool:
    """Whether every layer that reads the image writes to new memory."""
    readers = [layer for layer in layers if "in0" in layer[4 : 4 + int(layer[2])]]
    return all(layer[0] in COPYING for layer in readers)
