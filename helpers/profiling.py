"""Where a model file spends its time, operator by operator, if its runtime reports it; one thread.

Profiling takes time itself, so only compare the operators of one file.
"""

from modelfiles.profiling import (
    count_delegate_partitions,
    layer_cost,
    profile_mnn,
    profile_ncnn,
    profile_onnxruntime,
)

__all__ = [
    "count_delegate_partitions",
    "layer_cost",
    "profile_mnn",
    "profile_ncnn",
    "profile_onnxruntime",
]
