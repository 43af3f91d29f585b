"""ncnn's pair of files, NAME.ncnn.param and NAME.ncnn.bin."""

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelfiles.runtimes import options
from modelfiles.runtimes.model import Model, Unsupported, check_one_input, sizes

if TYPE_CHECKING:
    import ncnn

# the four bytes before a layer's weights if these are not float32
TAGS = {0x01306B47: "float16", 0x000D4B38: "int8"}
# settings of modelfiles.runtimes.options, and their names in ncnn's Option
OPTIONS = {
    "winograd": "use_winograd_convolution",
    "sgemm": "use_sgemm_convolution",
    "packing_layout": "use_packing_layout",
    "lightmode": "lightmode",
    "blocktime": "openmp_blocktime",
    "fp16_packed": "use_fp16_packed",
    "fp16_storage": "use_fp16_storage",
    "fp16_arithmetic": "use_fp16_arithmetic",
}
# layers that write their output to new memory; others may modify the image
WITH_OWN_MEMORY = (
    "Convolution",
    "ConvolutionDepthWise",
    "Deconvolution",
    "InnerProduct",
    "Pooling",
)


def float32_net(threads: int) -> "ncnn.Net":
    """An empty network that computes in float32 on every processor.

    By default ncnn computes in half precision where the CPU can, as on a Pi 5. On a Pi 4 it only
    stores the weights of dense layers that way.
    Benchmarks and profiles both use this function, so they time the same arithmetic everywhere.
    """
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_fp16_packed = False
    net.opt.use_fp16_storage = False
    net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    for name, value in options.chosen().items():
        setattr(net.opt, OPTIONS[name], value)
    return net


def open_ncnn(path: Path, threads: int) -> Model:
    """One image per call, in float32 even if the processor supports half precision."""
    import ncnn

    net = float32_net(threads)
    stem = path.name[: -len("param")]
    extension = "bin" if path.name.endswith("param") else "BIN"
    weights = path.with_name(stem + extension)
    if not weights.exists():
        raise ValueError(f"{weights.name}, the weights, is missing next to it")
    if net.load_param(str(path)):
        raise ValueError("ncnn cannot read its layers")
    precision = _load_weights(net, weights)
    check_one_input(net.input_names())
    first = net.input_names()[0]
    names = net.output_names()
    # pnnx numbers the outputs, but ncnn lists them in another order
    if "out0" in names:
        names = sorted(names, key=lambda name: (name != "out0", len(name), name))
    keeps_image = all(kind in WITH_OWN_MEMORY for kind in _users_of_input(path, first))

    def compute(x: np.ndarray, wanted: list[str]) -> list[np.ndarray]:
        image = ncnn.Mat(x[0])
        with net.create_extractor() as extractor:
            extractor.input(first, image if keeps_image else image.clone())
            return [np.array(extractor.extract(name)[1])[None] for name in wanted]

    def run(x: np.ndarray) -> np.ndarray:
        return compute(x, names[:1])[0]

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        return compute(x, names)

    shape = _input_shape(path)
    return Model(path, "ncnn", ncnn.__version__, precision, threads, shape, run, run_all)


def _lines(path: Path) -> list[list[str]]:
    """The layers of a .param file, split at spaces.

    A layer is its type, name, number of inputs, number of outputs, their names, and fields.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    layers = [line.split() for line in lines[2:]]
    return [words for words in layers if len(words) > 3]


def _users_of_input(path: Path, blob: str) -> list[str]:
    return [words[0] for words in _lines(path) if blob in words[4 : 4 + int(words[2])]]


def _input_shape(path: Path) -> tuple[int | None, ...] | None:
    """Batch first. The field numbers of width, height and channels are 0, 1 and 2."""
    words = next(words for words in _lines(path) if words[0] == "Input")
    fields = dict(word.split("=", 1) for word in words if "=" in word)
    given = [int(fields[axis]) for axis in ("2", "1", "0") if axis in fields]
    if not given:
        return None
    return (1, *sizes(given))


def _load_weights(net, file: Path) -> str:
    """Load the weights and return their precision.

    Raises Unsupported unless the layers need exactly the bytes of the file.
    """
    import ncnn

    content = file.read_bytes()

    class Reader(ncnn.DataReader):
        """Reads the file in pieces, as the layers request their weights."""

        at = 0
        asked_for_more = False
        precision = "float32"

        def read(self, target, size: int) -> int:
            piece = content[self.at : self.at + size]
            self.at += len(piece)
            self.asked_for_more |= len(piece) < size
            if size == 4 and self.precision != "int8":
                self.precision = TAGS.get(int.from_bytes(piece, "little"), self.precision)
            ctypes.memmove(_pointer(target, None), piece, len(piece))
            return len(piece)

    reader = Reader()
    failed = net.load_model(reader)
    if reader.asked_for_more or reader.at < len(content):
        need = "more than" if reader.asked_for_more else f"{reader.at:,} of"
        raise Unsupported(
            f"does not fit {file.name}: its layers need {need} the {len(content):,} bytes there. "
            "Is one of the two files from another network, or incomplete? Copy both again"
        )
    if failed:
        raise ValueError("ncnn cannot read its weights")
    return reader.precision


_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_pointer.restype = ctypes.c_void_p
_pointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
