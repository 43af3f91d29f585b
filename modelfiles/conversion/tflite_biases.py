"""A bias of zeros for the dense layers of a .tflite file that have none.

For LiteRT a bias is optional. Arm NN's parser of 2020 needs it.
"""

from pathlib import Path

import numpy as np

from modelfiles.integers.tflite_chain import open_tflite, packed

# the third input of a dense layer, after its activation and its weights
MISSING: tuple[list[int], ...] = ([], [-1])


def add_zero_biases(file: Path) -> None:
    """Rewrite `file`, a float32 network. Its outputs keep every bit.

    A file in which no bias is missing is not touched.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = open_tflite(file)
    is_changed = False
    for graph in model.subgraphs:
        for layer in graph.operators:
            kind = model.operatorCodes[layer.opcodeIndex].builtinCode
            inputs = [int(number) for number in layer.inputs]
            if kind != schema.BuiltinOperator.FULLY_CONNECTED or inputs[2:] not in MISSING:
                continue
            weights = graph.tensors[inputs[1]]
            outputs = int(weights.shape[0])
            bias = schema.TensorT(
                shape=[outputs],
                type=schema.TensorType.FLOAT32,
                buffer=len(model.buffers),
                name=weights.name + b"bias of zeros",
                hasRank=True,
            )
            model.buffers.append(schema.BufferT(data=np.zeros(4 * outputs, np.uint8)))
            layer.inputs = [*inputs[:2], len(graph.tensors)]
            graph.tensors.append(bias)
            is_changed = True
    if is_changed:
        file.write_bytes(packed(model))
