"""PyTorch's files: .pt2 and .torchscript in PyTorch itself, .pte in ExecuTorch."""

import contextlib
import functools
import importlib
import pickle
import sys
import threading
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from modelfiles.runtimes import options
from modelfiles.runtimes.model import Model, Unsupported, check_float_input, check_one_input, sizes

INTEGER_OPERATORS = ("quantized", "quantized_decomposed", "torchao", "pt2e_quant")  # namespaces
OPAQUE = "opaque_obj_"  # how the names of pickled constants in a .pt2 archive begin
_ONE_LOAD = threading.Lock()  # torch.load is replaced meanwhile
FLOAT32 = 6  # ExecuTorch's number for this type
# ExecuTorch has one thread pool for the whole process, and loaded programs keep a pointer to it
_EXECUTORCH = threading.Lock()
_pool_threads = 0  # its number of threads
_pool_number = 0  # pools created so far


def open_pt2(path: Path, threads: int) -> Model:
    """A program saved by torch.export.save."""
    import torch

    program = load_pt2(path)
    names = program.graph_signature.user_inputs
    check_one_input([str(name) for name in names])
    entry = next(node for node in program.graph.nodes if node.name == names[0]).meta["val"]
    check_float_input(entry.dtype, entry.dtype == torch.float32)
    targets = [node.target for node in program.graph.nodes]
    schemas = [target._schema for target in targets if hasattr(target, "_schema")]
    operators = {schema.name for schema in schemas}
    stored = (*program.state_dict.values(), *program.constants.values())
    tensors = [tensor for tensor in stored if isinstance(tensor, torch.Tensor)]
    works_in_place = any(schema.is_mutable for schema in schemas)
    runs = _torch_runs(program.module(), threads, works_in_place)
    precision = _precision(operators, tensors)
    return Model(path, "PyTorch", _torch_version(), precision, threads, sizes(entry.shape), *runs)


def load_pt2(path: Path):
    """The exported program in a .pt2 file; Unsupported if it holds pickled Python objects.

    torch.export.load would unpickle them, and a pickle can run any code.
    """
    import torch

    pickles = Unsupported(
        "holds pickled Python objects, which can run code when they are loaded: export the network "
        "with plain tensors only"
    )
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    if any(name.startswith(OPAQUE) for name in names):
        raise pickles
    with _ONE_LOAD:
        load = torch.load
        torch.load = functools.partial(_load_plain, load)
        try:
            return torch.export.load(path)
        except pickle.UnpicklingError as error:
            raise pickles from error
        finally:
            torch.load = load


def _load_plain(load: Callable, source: object, **options: object) -> object:
    """torch.load of plain tensors, also where PyTorch asks for other objects."""
    return load(source, **{**options, "weights_only": True})


def open_torchscript(path: Path, threads: int) -> Model:
    """A network saved by torch.jit.save. convert.to_torchscript also stores the input's shape."""
    import torch

    extra = {"input_shape": ""}
    module = torch.jit.load(path, map_location="cpu", _extra_files=extra)
    graph = module.inlined_graph
    _itself, *inputs = graph.inputs()
    check_one_input([value.debugName() for value in inputs])
    nodes = _all_nodes(graph)
    operators = {node.kind() for node in nodes}
    constants = [node.t("value") for node in nodes if _is_tensor(node)]
    works_in_place = any(kind.endswith("_") for kind in operators)
    shape = tuple(int(n) for n in extra["input_shape"].split()) or None
    runs = _torch_runs(module, threads, works_in_place)
    precision = _precision(operators, [*module.parameters(), *constants])
    return Model(path, "TorchScript", _torch_version(), precision, threads, shape, *runs)


def _is_tensor(node) -> bool:
    """Whether a node is a constant tensor, such as a weight of a frozen network."""
    is_constant = node.kind() == "prim::Constant" and node.hasAttribute("value")
    return is_constant and node.kindOf("value") == "t"


def _all_nodes(block) -> list:
    """The nodes of a TorchScript graph or block, including those of inner blocks."""
    found = []
    for node in block.nodes():
        found.append(node)
        for inner in node.blocks():
            found += _all_nodes(inner)
    return found


def _torch_version() -> str:
    import torch

    return torch.__version__.split("+")[0]


def _precision(operators: set[str], tensors: list) -> str:
    """From the operators' names, "namespace::name", and the type of most weights."""
    import torch

    for name in operators:
        if name.split("::")[0] in INTEGER_OPERATORS or "::quantize_per_" in name:
            return "int8"
    floats = [tensor for tensor in tensors if tensor.is_floating_point()]
    half_types = (torch.float16, torch.bfloat16)
    half = sum(tensor.numel() for tensor in floats if tensor.dtype in half_types)
    every = sum(tensor.numel() for tensor in floats)
    return "float16" if 2 * half > every else "float32"


def _torch_runs(module, threads: int, works_in_place: bool) -> tuple[Callable, Callable]:
    """Model.run and Model.run_all."""
    import torch

    torch.set_num_threads(threads)
    if options.chosen().get("denormals_as_zero"):
        torch.set_flush_denormal(True)

    def compute(x: np.ndarray) -> list:
        # the setting is per process: another model may have changed it
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        image = torch.from_numpy(x)
        with torch.inference_mode():
            return tensors(module(image.clone() if works_in_place else image))

    def tensors(answer) -> list:
        """The tensors in an answer, which may be nested tuples, lists and dictionaries."""
        if isinstance(answer, torch.Tensor):
            return [answer]
        if isinstance(answer, dict):
            answer = list(answer.values())
        if not isinstance(answer, (list, tuple)):
            return []  # such as None
        return [tensor for part in answer for tensor in tensors(part)]

    def as_array(tensor) -> np.ndarray:
        if tensor.dtype == torch.bfloat16:  # numpy has no such type
            tensor = tensor.float()
        return tensor.numpy()

    def run(x: np.ndarray) -> np.ndarray:
        return as_array(compute(x)[0])

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        return [as_array(tensor) for tensor in compute(x)]

    return run, run_all


def open_pte(path: Path, threads: int) -> Model:
    """A program for ExecuTorch."""
    from importlib.metadata import version

    import torch

    runtime = executorch_runtime()
    pool = _pool_with(threads)  # first, because the program keeps the current pool
    method = runtime.Runtime.get().load_program(path).load_method("forward")
    about = method.metadata
    check_one_input([f"input {i}" for i in range(about.num_inputs())])
    entry = about.input_tensor_meta(0)
    check_float_input(f"type {entry.dtype()} of PyTorch", entry.dtype() == FLOAT32)

    def compute(x: np.ndarray) -> list:
        if pool != _pool_number:
            raise RuntimeError(
                f"{path.name} was opened with {threads} thread(s), and a later file with another "
                "number. ExecuTorch has one thread pool per process: open the file again, or use "
                "a Worker for each file"
            )
        return method.execute([torch.from_numpy(x)])

    # copies, because the next call writes its output to the same memory
    def run(x: np.ndarray) -> np.ndarray:
        with _EXECUTORCH:
            return compute(x)[0].numpy().copy()

    def run_all(x: np.ndarray) -> list[np.ndarray]:
        with _EXECUTORCH:
            return [answer.numpy().copy() for answer in compute(x)]

    precision = "int8" if path.name.split(".")[0].endswith("_int8") else "float32"
    shape = sizes(entry.sizes())
    number = version("executorch")
    return Model(path, "ExecuTorch", number, precision, threads, shape, run, run_all)


def executorch_runtime():
    """The module executorch.runtime, loaded without ExecuTorch's compiler.

    The runtime needs one class of the compiler's package, executorch.exir. Importing that whole
    package takes several times longer than all other imports here.
    """
    with _EXECUTORCH, _empty_package("executorch.exir"):
        import executorch.runtime

    return executorch.runtime


@contextlib.contextmanager
def _empty_package(name: str) -> Iterator[None]:
    """In the block, submodules of the package `name` can be imported without its __init__.

    After the block, importing the package runs its __init__ as usual.
    """
    if name in sys.modules:
        yield
        return
    parent, _, last = name.rpartition(".")
    folders = [f"{folder}/{last}" for folder in importlib.import_module(parent).__path__]
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = folders
    try:
        yield
    finally:
        for module in [module for module in sys.modules if f"{module}.".startswith(f"{name}.")]:
            del sys.modules[module]
        vars(sys.modules[parent]).pop(last, None)


def _pool_with(threads: int) -> int:
    """The number of the thread pool with this many threads; a new one makes older ones invalid."""
    global _pool_threads, _pool_number
    from executorch.extension.pybindings import portable_lib

    with _EXECUTORCH:
        if threads != _pool_threads:
            portable_lib._unsafe_reset_threadpool(threads)
            _pool_threads = threads
            _pool_number += 1
        return _pool_number
