"""Compile float networks and graphs with quantize operators for ExecuTorch."""

from pathlib import Path

import torch


def lower_to_xnnpack(network: torch.nn.Module, example: torch.Tensor, scratch: Path) -> None:
    """Write `network` as an ExecuTorch program that computes its layers with XNNPACK."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    exported = torch.export.export(network, (example,))
    lowered = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
    scratch.write_bytes(lowered.to_executorch().buffer)
