"""How large a network is: parameters and multiply-accumulates."""

import copy


def count_parameters(model) -> int:
    """How many numbers training adjusts in a torch module; a shared tensor counts once.

    >>> from torch import nn
    >>> count_parameters(nn.Linear(10, 3))
    33
    """
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model, input_shape: tuple[int, ...]) -> int:
    """Multiply-accumulates of the Conv2d and Linear layers of a torch module for one input.

    `input_shape` starts with the batch. One MAC is two floating-point operations. Biases,
    activations, pooling and batch norm (which converters fold away) are not counted; neither is
    what a forward method calls as a function. ValueError for other layers that multiply: without
    them the sum would be too low.

    >>> from torch import nn
    >>> count_macs(nn.Conv2d(1, 8, 3), input_shape=(1, 1, 28, 28))  # 26 x 26 x 8 outputs, 9 each
    48672
    """
    from torch import inference_mode, nn, zeros

    counted = (nn.Conv2d, nn.Linear)
    others = (nn.modules.conv._ConvNd, nn.RNNBase, nn.MultiheadAttention, nn.Bilinear)
    model = copy.deepcopy(model).eval()  # no hook and no changed running mean stays in the original
    macs = 0

    def count(layer, inputs, output) -> None:
        nonlocal macs
        # one row of weights makes one output number, grouped or not
        macs += output.numel() * layer.weight[0].numel()

    for layer in model.modules():
        if isinstance(layer, counted):
            layer.register_forward_hook(count)
        elif isinstance(layer, others):
            raise ValueError(
                f"count_macs knows Conv2d and Linear; this model also has {type(layer).__name__}"
            )
    example = next(model.parameters(), zeros(1))
    with inference_mode():
        model(zeros(input_shape, dtype=example.dtype, device=example.device))
    return macs
