"""Batch normalizations that follow no convolution: written out, they compute the same."""

import numpy as np
import pytest
import torch
from torch import nn

from helpers import convert
from helpers.quiet import quiet
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

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 3, 3, bias=bias)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


@pytest.mark.parametrize("bias, patterns", [(False, 2), (True, 4)])
def test_only_patterns_that_the_graph_can_have_are_exported_and_all_are_folded(
    monkeypatch, bias, patterns
):
    with quiet():
        import torchao.quantization.pt2e as pt2e
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e import qat_utils, quantize_pt2e
    exported = []
    export = qat_utils._get_aten_graph_module_for_pattern

    def note(*arguments, **options):
        exported.append(options)
        return export(*arguments, **options)

    monkeypatch.setattr(qat_utils, "_get_aten_graph_module_for_pattern", note)
    torch.manual_seed(0)
    network = TrainedWithBatchNorm(bias)
    trained_statistics(network.norm)
    x = torch.randn(4, 2, 5, 5)
    config = get_symmetric_quantization_config(is_per_channel=True, is_qat=True)
    with quiet(), batch_norms.skip_absent_convolutions():
        graph = torch.export.export(network.train(), (x,)).module()
        graph = quantize_pt2e.prepare_qat_pt2e(graph, XNNPACKQuantizer().set_global(config))
        assert len(exported) == 3
        for node in graph.graph.nodes:
            if node.target is batch_norms.BATCH_NORM:
                node.update_arg(5, False)
        graph.recompile()
        graph(x)
        graph.apply(pt2e.disable_observer)
        simulated = graph(x).detach()
        exported.clear()
        converted = quantize_pt2e.convert_pt2e(graph)
    assert len(exported) == patterns
    assert not [node for node in converted.graph.nodes if node.target is batch_norms.BATCH_NORM]
    # the fused observer of weights rounds to slightly other steps than the conversion
    largest = (converted(x).detach() - simulated).abs().max()
    assert largest < 0.05 * (simulated.max() - simulated.min())


def test_after_qat_only_present_convolutions_are_searched(monkeypatch):
    from torchao.quantization.pt2e import qat_utils

    searched = []

    def note(graph, kind, *_, **__):
        searched.append(kind.__name__)
        return graph

    for helper in ("_fuse_conv_bn_qat_helper", "_fold_conv_bn_qat_helper"):
        monkeypatch.setattr(qat_utils, helper, note)
    x = torch.randn(2, 2, 5, 5)
    graph = torch.export.export(TrainedWithBatchNorm().train(), (x,)).module()
    with batch_norms.skip_absent_convolutions():
        qat_utils._fuse_conv_bn_qat(graph)
        qat_utils._fold_conv_bn_qat(graph)
    assert searched == ["conv2d", "conv2d"]
    searched.clear()
    qat_utils._fold_conv_bn_qat(graph)
    assert searched == ["conv1d", "conv2d", "conv_transpose1d", "conv_transpose2d"]
