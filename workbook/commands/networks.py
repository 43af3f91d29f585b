"""`workbook networks`: the rows of the measurement table, and what others have published.

Measured and published figures are separate tables, and nothing here ranks both.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbook.arguments import UsageError, check_rounds
from workbook.commands.table_rows import NETWORKS, SIZES, Network, onnx_size

if TYPE_CHECKING:
    from torch import nn

EXAMPLES = """
examples:
  workbook networks                      parameters and MACs, and what others have published
  workbook networks FCOS CLIP --time     also their latency on this machine
  workbook networks --claims             two published claims, judged by arithmetic

Weights are random, so there is no accuracy. The latency is p50 in ONNX Runtime with one thread,
batch 1; the networks take turns.
"""


def add_to(commands) -> None:
    """Add `networks` to the commands of `workbook`."""
    parser = commands.add_parser(
        "networks",
        help="the networks of the measurement table: size, MACs, latency, published figures",
        description="The networks of the measurement table, with what others have published.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--time", action="store_true", help="measure the latency, too")
    parser.add_argument("--rounds", type=int, default=8, help="rounds of the measurement")
    parser.add_argument("--claims", action="store_true", help="judge two published claims, instead")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    check_rounds(options.rounds)
    if options.claims:
        from workbook.commands import claims

        print(claims.as_text())
        return 0
    chosen = _chosen(options.names)
    print(measured(chosen, options.rounds if options.time else 0))
    print(f"\n{published(chosen)}")
    return 0


def _chosen(names: Sequence[str]) -> list[Network]:
    known = {network.name.lower(): network for network in NETWORKS}
    unknown = [name for name in names if name.lower() not in known]
    if unknown:
        listed = ", ".join(network.name for network in NETWORKS)
        raise UsageError(f"no row is called {unknown[0]}; there are {listed}")
    return [known[name.lower()] for name in names] if names else list(NETWORKS)


def measured(networks: Sequence[Network], rounds: int = 0) -> str:
    """The table of this machine. With `rounds`, also p50 in ONNX Runtime, 1 thread, in ms."""
    import pandas

    rows = {}
    timed: dict[str, Path | nn.Module] = {}
    for network in networks:
        found, why = _found(network)
        rows[network.name] = {"input": "x".join(map(str, network.shape)) or "-"}
        if found is None:
            rows[network.name]["remark"] = why
            continue
        parameters, macs = _size(network, found)
        rows[network.name] |= {
            "parameters (M)": f"{parameters / 1e6:.3f}",
            "GMACs": f"{macs / 1e9:.2f}",
            "remark": network.note or "random weights",
        }
        timed[network.name] = found
    if rounds:
        for name, p50_ms in _latencies(networks, timed, rounds).items():
            rows[name]["p50 (ms)"] = f"{p50_ms:.1f}"
    columns = ["input", "parameters (M)", "GMACs", *["p50 (ms)"] * bool(rounds), "remark"]
    table = pandas.DataFrame(rows).T.reindex(columns=columns).fillna("-")
    from helpers import device

    where = f"{device.describe()['cpu']}, ONNX Runtime, 1 thread" if rounds else "no accuracy"
    return f"Here ({where}):\n{table.to_string()}"


def _found(network: Network) -> "tuple[Path | nn.Module | None, str]":
    """The network or its file, or None and the reason."""
    if network.build is not None:
        return network.build(), ""
    if not network.file:
        return None, network.why
    folder = os.environ.get("WORKBOOK_DATA")
    path = Path(folder or "", "models", network.file)
    if folder and path.exists():
        return path, ""
    return None, f"not here, because {network.file} is not in the folder models of WORKBOOK_DATA"


def _size(network: Network, found: "Path | nn.Module") -> tuple[int, int]:
    from helpers import metrics

    if isinstance(found, Path):
        return onnx_size(found)
    if network.macs is not None:
        return metrics.count_parameters(found), network.macs()
    return metrics.count_parameters(found), metrics.count_macs(found, (1, *network.shape))


def _latencies(
    networks: Sequence[Network], found: "dict[str, Path | nn.Module]", rounds: int
) -> dict[str, float]:
    """p50 in ms of each network in ONNX Runtime, one thread; they take turns."""
    import numpy as np
    import torch

    from helpers import convert, timing
    from helpers.runtimes import Model, open_model

    def call(model: Model, shape: tuple[int, ...]) -> Callable[[], np.ndarray]:
        x = np.random.default_rng(0).standard_normal((1, *shape), np.float32)
        return lambda: model.predict(x)

    calls = {}
    with tempfile.TemporaryDirectory() as folder:
        for network in networks:
            model = found.get(network.name)
            if model is None:
                continue
            if isinstance(model, Path):
                path = model
            else:
                example = torch.zeros(1, *network.shape)
                path = convert.to_onnx(model, example, Path(folder, f"{network.name}.onnx"))
            calls[network.name] = call(open_model(path), network.shape)
        taken = timing.benchmark(calls, rounds=rounds, min_round_s=0.05, min_calls=1)
    return {name: latency.percentile(50) / 1e6 for name, latency in taken.items()}


def published(networks: Sequence[Network]) -> str:
    """What others have published for these networks, in tables of their own."""
    import pandas

    from workbook.evaluate.published import as_table, of_network

    names = [network.name for network in networks]
    sizes = [size for size in SIZES if size.name in names]
    figures = [figure for name in names for figure in of_network(name)]
    parts = []
    if sizes:
        table = pandas.DataFrame(
            {
                "parameters (M)": [f"{size.parameters_m:g}" for size in sizes],
                "GMACs": [f"{size.gmacs:g}" for size in sizes],
                "quality": [size.quality for size in sizes],
                "source": [size.source for size in sizes],
            },
            index=[size.name for size in sizes],
        )
        parts.append(f"Published sizes, not measured here:\n{table.to_string()}")
    if figures:
        parts.append(f"Published latencies, not measured here:\n{as_table(figures)}")
    return "\n\n".join(parts) or "No published figures are known for these networks."
