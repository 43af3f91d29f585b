"""Arm NN, Arm's own kernels for its processors, as a delegate: a library to which LiteRT hands the layers it can compute.

No package index has it. Arm publishes it as an archive for aarch64, ArmNN-linux-aarch64.tar.gz; the environment
variable ARMNN_DELEGATE then names the file libarmnnDelegate.so in it.
"""

import ctypes
import ctypes.util
import os

LIBRARY = "libarmnnDelegate.so"
BACKENDS = "CpuAcc,CpuRef"  # Arm's kernels first, and its slow reference for what they do not know


class NotLoaded(ImportError):
    """Arm NN is not here, or does not load; the message says what to do."""


def load_delegate(threads: int):
    """Arm NN as a delegate for ai_edge_litert's Interpreter. NotLoaded where that is impossible."""
    from ai_edge_litert import interpreter

    named = os.environ.get("ARMNN_DELEGATE")
    if named and not os.path.exists(named):
        raise NotLoaded(
            f"ARMNN_DELEGATE names {named}, which does not exist: let it name Arm NN's {LIBRARY}"
        )
    library = named or ctypes.util.find_library("armnnDelegate")
    if not library:
        raise NotLoaded(
            f"Arm NN's {LIBRARY} is not on this machine: unpack Arm's release of Arm NN for this processor "
            f"and let the environment variable ARMNN_DELEGATE name the file {LIBRARY} in it"
        )
    try:
        # tried here first, because the interpreter's own class complains once more when it is collected
        ctypes.CDLL(library).tflite_plugin_create_delegate
        return interpreter.load_delegate(
            library,
            {"backends": BACKENDS, "number-of-threads": threads, "logging-severity": "fatal"},
        )
    except (OSError, AttributeError, ValueError) as error:
        said = str(error).strip().splitlines()[-1]
        raise NotLoaded(
            f"Arm NN's delegate {os.path.basename(library)} does not load: is it built for this processor, "
            f"and does LD_LIBRARY_PATH name the folder with the rest of its release? ({said})"
        ) from error
