"""The size of a network: parameters and multiply-accumulates."""

import copy


def count_parameters(model) -> int:
    """The number of trainable numbers in a torch module; a shared tensor is counted once.

    >>> from torch import nn
    >>> count_parameters(nn.Linear(10, 3))
    33
    """
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the convolutions and matrix products of a torch module for one input.

    `input_shape` starts with the batch. One MAC is two floating-point operations, which torch's
    FlopCounterMode counts. Biases, activations, pooling and batch norm (which converters fold away)
    are not counted. ValueError for layers whose products FlopCounterMode does not count.

    >>> from torch import nn
    >>> count_macs(nn.Conv2d(1, 8, 3), input_shape=(1, 1, 28, 28))  # 26 x 26 x 8 outputs, 9 each
    48672
    """
    from torch import inference_mode, nn, zeros
    from torch.utils.flop_counter import FlopCounterMode

    missed = (nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention, nn.Bilinear)
    for layer in model.modules():
        if isinstance(layer, missed):
            raise ValueError(f"count_macs cannot count {type(layer).__name__}, which the model has")
    model = copy.deepcopy(model).eval()  # a forward pass may change buffers
    example = next(model.parameters(), zeros(1))
    with inference_mode(), FlopCounterMode(display=False) as counter:
        model(zeros(input_shape, dtype=example.dtype, device=example.device))
    return counter.get_total_flops() // 2
