"""Write the files of one model for the runtimes; what fails becomes a Candidate with the reason."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from modelfiles.errors import ConversionError, WrongAnswers
from workbook.evaluate import opening, remedies, tensorflow_source
from workbook.evaluate.candidates import Candidate
from workbook.evaluate.remedies import NEEDS_NETWORK, NO_FLOAT_FILE
from workbook.evaluate.runtimes import RUNTIMES
from workbook.evaluate.source import Source

if TYPE_CHECKING:
    import torch

# the end of a file's name, for each precision
ENDINGS = {"float32": "", "float16": "_half", "int8": "_int8"}


@dataclass(frozen=True)
class Wanted:
    """What to write: for which runtime, with which precision."""

    runtime: str
    precision: str

    @property
    def title(self) -> str:
        """In words, such as "ncnn, float16"."""
        return f"{self.runtime}, {self.precision}"


class Conversions:
    """The conversions of one source; `made` are those that are finished."""

    def __init__(
        self,
        source: Source,
        example: np.ndarray,
        folder: Path,
        calibration: np.ndarray | None = None,
    ) -> None:
        self.source = source
        self.example = example
        self.folder = folder
        self.calibration = calibration
        self.made: dict[Wanted, Candidate] = {}
        if source.runtime:
            own = Candidate(source.runtime, False, source.file, is_source=True)
            self.made[Wanted(source.runtime, "float32")] = own

    def write(self, wanted: Wanted) -> Candidate:
        """Write one file; a Candidate with the reason if that is impossible. It never raises."""
        if wanted.runtime == "armnn":  # LiteRT's file, opened with Arm NN
            litert = Wanted("tflite", wanted.precision)
            found = self.made.get(litert) or self.write(litert)
            self.made[wanted] = replace(found, runtime="armnn", is_source=False)
            return self.made[wanted]
        ending = ENDINGS[wanted.precision] + RUNTIMES[wanted.runtime].suffix
        path = self.folder / (self.source.name + ending)
        try:
            self._writer(wanted)(path)
        except WrongAnswers as error:
            where = self._first_wrong_layer(wanted)
            problem = remedies.wrong(str(error), where)
            made = self._candidate(wanted, None, problem, True, error.difference)
        except Exception as error:  # a converter raises anything
            made = self.failed(wanted, error)
        else:
            made = self._candidate(wanted, path)
        self.made[wanted] = made
        return made

    def failed(self, wanted: Wanted, problem: Exception | str) -> Candidate:
        """The candidate of a conversion that failed."""
        return self._candidate(wanted, None, remedies.explained(wanted.runtime, problem))

    def _candidate(
        self,
        wanted: Wanted,
        path: Path | None,
        problem: str = "",
        is_wrong: bool = False,
        difference: float | None = None,
    ) -> Candidate:
        return Candidate(
            wanted.runtime,
            wanted.precision == "int8",
            path,
            problem,
            is_half=wanted.precision == "float16",
            is_wrong=is_wrong,
            difference=difference,
        )

    def _writer(self, wanted: Wanted) -> Callable[[Path], object]:
        """The function that writes the file to a path."""
        from helpers import convert
        from modelfiles.conversion.half_form import to_onnx_half

        runtime = wanted.runtime
        if self.source.tensorflow and wanted.precision != "float16":
            return self._tensorflow_writer(wanted)
        if wanted.precision == "float32":
            return self._float_writer(runtime)
        if runtime == "mnn":
            bits = 16 if wanted.precision == "float16" else 8
            return partial(convert.to_mnn, self._float_file("onnx"), weight_bits=bits)
        if runtime == "ncnn":
            network, example = self._network_and_example()
            return partial(convert.to_ncnn, network, example, half=True)
        if wanted.precision == "float16":
            halve = to_onnx_half if runtime == "onnx" else convert.to_tflite_half
            return partial(halve, self._float_file(runtime))
        if self.calibration is None:
            raise ConversionError("int8 needs examples that calibrate its ranges")
        if runtime == "executorch":
            network, _ = self._network_and_example()
            return partial(convert.to_executorch_int8, network, calibration=self.calibration)
        quantize = convert.to_onnx_int8 if runtime == "onnx" else convert.to_tflite_int8
        return partial(quantize, self._float_file(runtime), calibration=self.calibration)

    def _float_writer(self, runtime: str) -> partial:
        from helpers import convert

        if runtime == "mnn":
            return partial(convert.to_mnn, self._float_file("onnx"))
        writers = {
            "torch": convert.to_pt2,
            "torchscript": convert.to_torchscript,
            "onnx": convert.to_onnx,
            "tflite": convert.to_tflite,
            "ncnn": convert.to_ncnn,
            "executorch": convert.to_executorch,
        }
        return partial(writers[runtime], *self._network_and_example())

    def _tensorflow_writer(self, wanted: Wanted) -> Callable[[Path], object]:
        model = self.source.tensorflow
        assert model is not None
        calibration = self.calibration if wanted.precision == "int8" else None

        def write(path: Path) -> None:
            tensorflow_source.write(model, wanted.runtime, path, calibration, self.source.limits)

        return write

    def _network_and_example(self) -> "tuple[torch.nn.Module, torch.Tensor]":
        import torch

        if self.source.network is None:
            raise ConversionError(NEEDS_NETWORK)
        return self.source.network, torch.from_numpy(self.example)

    def _float_file(self, runtime: str) -> Path:
        """The float file of `runtime`: MODEL, or one of this run, never an older one."""
        wanted = Wanted(runtime, "float32")
        is_new = wanted not in self.made
        if is_new:
            self.write(wanted)  # ONNX for MNN, also if ONNX Runtime is not raced
        found = self.made[wanted]
        if found.is_source:
            self._check_source()
        if found.path is not None:
            return found.path
        # the table has a row with the reason, except for a file that was not asked for
        raise ConversionError(found.problem if is_new or runtime == "onnx" else NO_FLOAT_FILE)

    def _check_source(self) -> None:
        """ConversionError if another process cannot open MODEL within the limits."""
        source = self.source
        assert source.file is not None and source.runtime is not None
        problem = opening.problem_of(source.file, source.runtime, source.limits)
        if problem:
            raise ConversionError(problem)

    def _first_wrong_layer(self, wanted: Wanted) -> str:
        """A sentence with the first layer whose answers are wrong; "" if none is known."""
        from helpers import convert
        from modelfiles.conversion import first_wrong

        suffix = RUNTIMES[wanted.runtime].suffix
        try:
            if wanted.precision != "float32":
                return ""  # each layer is rounded: there is no first one
            if wanted.runtime == "mnn":
                return first_wrong.of_onnx(self._float_file("onnx"), suffix, convert.to_mnn)
            network, example = self._network_and_example()
            writer = self._float_writer(wanted.runtime)
            return first_wrong.of_network(network, example, suffix, writer.func)
        except Exception as error:  # the search may fail in many ways: the verdict stays
            return f"The first wrong layer was not found ({type(error).__name__}: {error})."
