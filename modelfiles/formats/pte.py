"""How many operators of an ExecuTorch program, NAME.pte, a delegate computes.

The program lists instructions: calls of ExecuTorch's own kernels, and calls of delegates. The graph
of XNNPACK, the delegate for CPUs, is a flatbuffer of its own in a segment of the file.
"""

import struct

from modelfiles.formats.flatbuffer import Table

# Numbers from ExecuTorch's program.fbs. Fields of Program:
PLANS = 1
INLINE_DATA = 3
SEGMENTS = 4
# Fields of ExecutionPlan, Chain and Instruction:
CHAINS = 5
DELEGATES = 7
INSTRUCTIONS = 2
INSTRUCTION_TYPE = 0
KERNEL_CALL = 1
# Fields of BackendDelegate and of its reference to the data:
NAME = 0
REFERENCE = 1
LOCATION = 0
INDEX = 1
# A field of XNNGraph, in XNNPACK's runtime_schema.fbs:
NODES = 1
# after the flatbuffer's first eight bytes: b"eh00", size, then two numbers of 64 bits
EXTENDED_HEADER = 8
# after the first four bytes of XNNPACK's data: b"XH00", size, then the offset of the flatbuffer
GRAPH_HEADER = 4


def count_operators(content: bytes) -> tuple[int, int] | None:
    """The operators in XNNPACK's graphs, and all; None if another delegate computes some.

    struct.error or IndexError for a damaged file.
    """
    program = Table.root(content)
    delegated = 0
    kernels = 0
    for plan in program.tables(PLANS):
        for delegate in plan.tables(DELEGATES):
            if delegate.data(NAME) != b"XnnpackBackend":
                return None
            graph = Table.root(_graph_of(content, program, delegate))
            delegated += len(graph.tables(NODES))
        for chain in plan.tables(CHAINS):
            kinds = [step.number(INSTRUCTION_TYPE, "<B") for step in chain.tables(INSTRUCTIONS)]
            kernels += kinds.count(KERNEL_CALL)
    return delegated, delegated + kernels


def _graph_of(content: bytes, program: Table, delegate: Table) -> bytes:
    """The flatbuffer of XNNPACK's graph of one delegate."""
    reference = delegate.table(REFERENCE)
    assert reference is not None
    index = reference.number(INDEX, "<I")
    if reference.number(LOCATION, "<b"):
        base = struct.unpack_from("<Q", content, EXTENDED_HEADER + 16)[0]
        segment = program.tables(SEGMENTS)[index]
        start = base + segment.number(0, "<Q")
        data = content[start : start + segment.number(1, "<Q")]
    else:
        data = program.tables(INLINE_DATA)[index].data(0)
    if data[GRAPH_HEADER : GRAPH_HEADER + 4] != b"XH00":
        return data
    start, size = struct.unpack_from("<II", data, GRAPH_HEADER + 6)
    return data[start : start + size]
