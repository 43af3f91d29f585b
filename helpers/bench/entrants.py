"""Who takes part in notebook 08's race: a file, and the settings of the runtime that opens it."""

import ctypes.util
import json
import os
import platform
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from helpers import model_files
from helpers.paths import build_path
from helpers.workers import Worker
from modelfiles.runtimes import options, pyarmnn_file

# settings with which a runtime computes in half precision if the processor has instructions for it
HALF = {
    "ncnn": (("fp16_packed", True), ("fp16_storage", True), ("fp16_arithmetic", True)),
    "MNN": (("precision", "low"),),
}


@dataclass(frozen=True)
class Entrant(model_files.ModelFile):
    """A model file, the `settings` of its runtime (see runtimes.options), and a `delegate`."""

    settings: tuple[tuple[str, object], ...] = ()
    delegate: str | None = None

    def start(self, threads: int = 1) -> Worker:
        """It in a process of its own; the errors are those of Worker."""
        return Worker(
            self.path,
            threads,
            delegate=self.delegate,
            settings={options.VARIABLE: json.dumps(dict(self.settings))},
        )


def entrants(networks: Sequence[str]) -> list[Entrant]:
    """All that can take part here: the files of `networks`, in half precision and in Arm NN, too.

    The files of notebook 07 follow, as the network "depthwise". Files that do not exist are
    skipped.
    """
    found = []
    for file in model_files.files(networks):
        entrant = Entrant(**vars(file))
        found.append(entrant)
        if file.precision != "float32":
            continue
        if file.runtime in HALF:
            found.append(replace(entrant, precision="half precision", settings=HALF[file.runtime]))
        if file.runtime == "LiteRT":
            found += [
                replace(entrant, runtime=runtime, delegate=delegate)
                for delegate, runtime in _arm_nn().items()
            ]
    for precision, place in model_files.DEPTHWISE.items():
        found.append(Entrant("depthwise", "ONNX Runtime", precision, build_path("models", *place)))
    return [entrant for entrant in found if entrant.exists]


def _arm_nn() -> dict[str, str]:
    """{delegate: runtime}: Arm NN's own if it is here, else PyArmNN; on x86 that has no kernels."""
    if os.environ.get("ARMNN_DELEGATE") or ctypes.util.find_library("armnnDelegate"):
        return {"armnn": "LiteRT + Arm NN"}
    with suppress(pyarmnn_file.PyArmnnMissing):
        if platform.machine() == "aarch64" and pyarmnn_file.python():
            return {"pyarmnn": "Arm NN (CpuAcc)"}
    return {}
