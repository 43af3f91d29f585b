"""Which picture is in which file."""

from collections.abc import Callable
from pathlib import Path

from helpers.paths import ROOT
from workbook.diagrams import (
    codebooks,
    detectors,
    files,
    float_layers,
    grids,
    integers,
    live,
    machines,
    networks,
    training,
)
from workbook.diagrams.picture import Picture

FOLDER = ROOT / "notebooks" / "figures"
DIAGRAMS: dict[str, Callable[[], Picture]] = {
    "00_network": networks.network,
    "00_kernel": networks.kernel,
    "00_laptop_to_pi": networks.laptop_to_pi,
    "01_training_loop": training.training_loop,
    "02_one_model_many_files": training.many_files,
    "03_interleaved": training.interleaved,
    "04_codebook": codebooks.codebook,
    "04b_huffman": codebooks.huffman,
    "05_ruler": grids.ruler,
    "05_grids": grids.granularity,
    "05_ranges": grids.ranges,
    "05_least_error": grids.least_error,
    "05b_four_terms": integers.four_terms,
    "05b_int8_layer": integers.int8_layer,
    "06_qdq_qoperator": files.qdq_qoperator,
    "06_export_observe_convert": files.export_observe_convert,
    "06_decision": files.decision,
    "07_fake_quantization": files.fake_quantization,
    "08_roof": machines.roof,
    "08_sdot": integers.sdot,
    "09_grid_cell": detectors.grid_cell,
    "09_iou": detectors.iou,
    "09_nms": detectors.nms,
    "09b_letterbox": detectors.letterbox,
    "10_outlier": float_layers.outlier,
    "10b_search": float_layers.search,
    "11_latest_frame": live.latest_frame,
}


def write_all(folder: Path = FOLDER) -> list[Path]:
    """Write each diagram as NAME.svg, and return the paths."""
    paths = []
    for name, draw in DIAGRAMS.items():
        path = folder / f"{name}.svg"
        path.write_text(draw().svg(), encoding="utf-8", newline="\n")
        paths.append(path)
    return paths
