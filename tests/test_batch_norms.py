"""Batch normalizations that follow no convolution: written out, they compute the same."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import convert
from modelfiles.conversion import batch_norms


def trained_statistics(layer: nn.Module) -> nn.Module:
    """`layer` in eval mode, with statistics and parameters that no layer has at the start."""
    generator = torch.Generator().manual_seed(0)
    for tensor in layer.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return layer.eval()


LAYERS = {
    "two dimensions": (nn.BatchNorm2d(3), (2, 3, 5, 4)),
    "one dimension": (nn.BatchNorm1d(6), (4, 6)),
    "a sequence": (nn.BatchNorm1d(6), (4, 6, 7)),
    "without parameters": (nn.BatchNorm2d(3, affine=False, eps=0.1), (2, 3, 5, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_written_out_it_computes_the_same(name):
    layer, shape = LAYERS[name]
    network = nn.Sequential(nn.Sigmoid(), trained_statistics(layer), nn.ReLU()).eval()
    x = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    graph = torch.export.export(network, (x,)).module()
    batch_norms.write_out(graph)
    assert not [node for node in graph.graph.nodes if node.target is batch_norms.BATCH_NORM]
    torch.testing.assert_close(graph(x), network(x), rtol=1e-5, atol=1e-6)


def test_a_graph_without_them_stays_as_it_is():
    graph = torch.export.export(nn.Sequential(nn.ReLU()), (torch.zeros(1, 3),)).module()
    before = str(graph.graph)
    batch_norms.write_out(graph)
    assert str(graph.graph) == before


def test_a_network_that_normalizes_before_its_convolution_is_quantized():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.ReLU(), trained_statistics(nn.BatchNorm2d(3)), nn.Conv2d(3, 4, 3), nn.Flatten()
    ).eval()
    images = np.random.default_rng(0).standard_normal((20, 3, 8, 8), np.float32)
    graph = convert.quantize_pt2e(network, images)
    assert not [node for node in graph.graph.nodes if node.target is batch_norms.BATCH_NORM]
    with torch.no_grad():
        wanted = network(torch.from_numpy(images)).numpy()
        found = np.concatenate([graph(image) for image in torch.from_numpy(images).split(1)])
    assert np.abs(found - wanted).max() < 0.05 * np.ptp(wanted)


class TrainedWithBatchNorm(nn.Module):
    """A convolution and its batch normalization, as they are after QAT."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, bias=False)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


def test_after_qat_only_present_convolutions_are_searched(monkeypatch):
    from torchao.quantization.pt2e import qat_utils

    searched = []

    def note(graph, kind, *_, **__):
        searched.append(kind.__name__)
        return graph

    monkeypatch.setattr(qat_utils, "_fold_conv_bn_qat_helper", note)
    x = torch.randn(2, 2, 5, 5)
    graph = torch.export.export(TrainedWithBatchNorm().train(), (x,)).module()
    with batch_norms.skip_absent_convolutions():
        qat_utils._fold_conv_bn_qat(graph)
    assert searched == ["conv2d"]
    searched.clear()
    qat_utils._fold_conv_bn_qat(graph)
    assert searched == ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]
