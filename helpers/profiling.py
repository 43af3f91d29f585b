"""Time per operator of a model file, on one thread, for runtimes that report it.

Profiling itself takes time, so compare only operators of the same file.
"""

from modelfiles.profiling import (
    count_delegate_partitions,
    layer_cost,
    layer_gains,
    profile_mnn,
    profile_ncnn,
    profile_onnxruntime,
    time_by_kind,
    without_conversions,
)

__all__ = [
    "count_delegate_partitions",
    "layer_cost",
    "layer_gains",
    "profile_mnn",
    "profile_ncnn",
    "profile_onnxruntime",
    "time_by_kind",
    "without_conversions",
]
