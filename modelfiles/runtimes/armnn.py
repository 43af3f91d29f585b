"""Arm NN, Arm's own kernels for its processors, as a delegate.

A delegate is a library that computes layers for LiteRT. Arm NN is not in any package index. Arm
publishes an archive for aarch64, ArmNN-linux-aarch64.tar.gz. Set the environment variable
ARMNN_DELEGATE to the path of libarmnnDelegate.so in it.
"""

import ctypes
import ctypes.util
import os

from modelfiles.errors import WorkbookError

LIBRARY = "libarmnnDelegate.so"
BACKENDS = "CpuAcc,CpuRef"  # Arm's kernels first, then its slow reference for other layers


class DelegateUnavailable(WorkbookError, ImportError):
    """Arm NN is missing or cannot be loaded; the message names the next step."""


def load_delegate(threads: int):
    """Arm NN as a delegate for ai_edge_litert's Interpreter; DelegateUnavailable without it."""
    from ai_edge_litert import interpreter

    named = os.environ.get("ARMNN_DELEGATE")
    if named and not os.path.exists(named):
        raise DelegateUnavailable(
            f"ARMNN_DELEGATE names {named}, which does not exist: "
            f"set it to the path of Arm NN's {LIBRARY}"
        )
    library = named or ctypes.util.find_library("armnnDelegate")
    if not library:
        raise DelegateUnavailable(
            f"Arm NN's {LIBRARY} is not installed: unpack Arm's release of Arm NN for this "
            f"processor and set ARMNN_DELEGATE to the path of {LIBRARY} in it"
        )
    settings = {"backends": BACKENDS, "number-of-threads": threads, "logging-severity": "fatal"}
    try:
        # load it here first, because the interpreter's class would print a second error later
        _ = ctypes.CDLL(library).tflite_plugin_create_delegate
        return interpreter.load_delegate(library, settings)
    except (OSError, AttributeError, ValueError) as error:
        said = str(error).strip().splitlines()[-1]
        raise DelegateUnavailable(
            f"Arm NN's delegate {os.path.basename(library)} cannot be loaded: is it built for this "
            "processor, and does LD_LIBRARY_PATH name the folder with the rest of its release? "
            f"({said})"
        ) from error
