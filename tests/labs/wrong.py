"""Solutions that look right and are not, and right ones in other styles: the tables of the tests.

WRONG[lab][name] = (cell, body, lost): `body` replaces the text between BEGIN SOLUTION and
END SOLUTION in the cell with this grade_id. `lost` are the points that the solution must lose, by
question: these and no others.
RIGHT[lab][name] = (cell, body): loses nothing.
DAMAGED[lab][name] = (file, damage, lost): `damage(path)` spoils a submitted file.
"""

import copy
import json
import textwrap
from pathlib import Path

import numpy as np

from helpers.timing import Latency, WarmUp

WRONG: dict[str, dict[str, tuple]] = {}
RIGHT: dict[str, dict[str, tuple]] = {}
DAMAGED: dict[str, dict[str, tuple]] = {}


def _table(cell: str, lost: dict, bodies: dict) -> dict:
    """Entries of one function; a body alone loses `lost`, a pair (body, lost) what it says."""
    pairs = {
        name: body if isinstance(body, tuple) else (body, lost) for name, body in bodies.items()
    }
    return {name: (cell, dedent(body), points) for name, (body, points) in pairs.items()}


def dedent(body: str) -> str:
    """A body as it stands in a table, at the left margin."""
    return textwrap.dedent(body).strip("\n")


def rewrite(**changes):
    """A damage for .npz files: every named array becomes what its function makes of it."""

    def damage(path):
        with np.load(path) as stored:
            arrays = {
                name: changes.get(name, lambda array: array)(stored[name]) for name in stored.files
            }
        np.savez(path, **arrays)

    return damage


# ----------------------------------------------------------------------------------- lab 2: k-means
CLUSTER = {"cluster_values": 3, "cluster_empty": 1}
EMPTY = {"cluster_empty": 1}
VALUES = {"cluster_values": 3}
LLOYD = """
flat = weights.ravel().astype(np.float64)
codebook = np.linspace(flat.min(), flat.max(), k)
for _ in range(300):
    nearest = np.abs(flat[:, None] - codebook).argmin(axis=1)
    codebook = np.array([{mean} for j in range(k)])
return codebook
"""
KEEP = "flat[nearest == j].mean() if (nearest == j).any() else codebook[j]"
USED = "codebook[np.unique(nearest)]"

WRONG["lab2_kmeans"] = _table(
    "cluster",
    CLUSTER,
    {
        "cluster: an even grid": "return np.linspace(weights.min(), weights.max(), k)",
        "cluster: quantiles": ("return np.quantile(weights, (np.arange(k) + 0.5) / k)", VALUES),
        "cluster: random weights": "return np.random.default_rng(0).choice(weights.ravel(), k)",
        "cluster: one value too many": (
            LLOYD.format(mean=KEEP).replace("return codebook", "return np.append(codebook, 0)"),
            CLUSTER,
        ),
        "cluster: along rows": "return np.resize(weights.mean(axis=-1), k)",
        "cluster: rounded to whole numbers": LLOYD.format(mean=f"round({KEEP})"),
        "cluster: the value `k` times": "return np.full(k, weights.mean())",
        "cluster: assert x == x": "assert np.array_equal(weights, weights)",
        "cluster: a single round": (
            LLOYD.format(mean=KEEP).replace("range(300)", "range(1)"),
            CLUSTER,
        ),
        "cluster: medians": (
            LLOYD.format(
                mean=KEEP.replace("flat[nearest == j].mean()", "np.median(flat[nearest == j])")
            ),
            VALUES,
        ),
        "cluster: NaN for an empty cluster": (
            LLOYD.format(mean="flat[nearest == j].sum() / np.float64((nearest == j).sum())"),
            EMPTY,
        ),
        "cluster: empty clusters left out": (
            "weights = np.asarray(weights)\n"
            + LLOYD.format(mean=KEEP).replace("return codebook", f"return {USED}"),
            EMPTY,
        ),
    },
)

ASSIGN = {"assign_nearest": 2, "assign_any_codebook": 1}
UNSORTED = {"assign_any_codebook": 1}
NEAREST = "np.abs(weights[..., None] - codebook).argmin(axis=-1)"
FLAT_DISTANCE = "np.abs(weights.ravel()[:, None] - codebook)"
WRONG["lab2_kmeans"] |= _table(
    "assign",
    ASSIGN,
    {
        "assign: the value below (truncation)": (
            "return np.clip(np.digitize(weights, codebook) - 1, 0, len(codebook) - 1)",
            ASSIGN,
        ),
        "assign: shape lost": f"return {FLAT_DISTANCE}.argmin(axis=1).reshape(-1, 1)",
        "assign: counted from 1": f"return {NEAREST} + 1",
        "assign: the farthest": "return np.abs(weights[..., None] - codebook).argmax(axis=-1)",
        "assign: no absolute value": "return (weights[..., None] - codebook).argmin(axis=-1)",
        "assign: swapped axes": f"return {FLAT_DISTANCE}.argmin(axis=0)",
        "assign: transposed": "return np.abs(weights.T[..., None] - codebook).argmin(axis=-1)",
        "assign: values instead of indices": f"return codebook[{NEAREST}]",
        "assign: random indices": (
            "return np.random.default_rng(0).integers(0, len(codebook), weights.shape)",
            ASSIGN,
        ),
        "assign: indices as floats": f"return {NEAREST}.astype(float)",
        "assign: by rank": (
            "return (weights.argsort(axis=None).argsort() * len(codebook) // weights.size)"
            ".reshape(weights.shape)",
            ASSIGN,
        ),
        "assign: sorted codebooks only": (
            "return np.searchsorted((codebook[1:] + codebook[:-1]) / 2, weights)",
            UNSORTED,
        ),
        "assign: indices into the sorted codebook": (
            "return np.abs(weights[..., None] - np.sort(codebook)).argmin(axis=-1)",
            UNSORTED,
        ),
        "assign: 8-bit indices": (f"return {NEAREST}.astype(np.uint8)", UNSORTED),
    },
)

RECONSTRUCT = {"reconstruct_values": 1}
WRONG["lab2_kmeans"] |= _table(
    "reconstruct",
    RECONSTRUCT,
    {
        "reconstruct: flat": "return codebook[indices.ravel()]",
        "reconstruct: sorted codebook": "return np.sort(codebook)[indices]",
        "reconstruct: off by one": "return codebook[indices - 1]",
        "reconstruct: half precision": "return codebook.astype(np.float16)[indices]",
        "reconstruct: truncated to whole numbers": "return codebook.astype(np.int64)[indices]",
        "reconstruct: transposed": "return codebook[indices.T]",
        "reconstruct: random tensor with the right levels": (
            "return np.random.default_rng(0).choice(codebook, indices.shape)",
            RECONSTRUCT,
        ),
        "reconstruct: the indices": "return indices.astype(float)",
    },
)

INDEX_BITS = "(k - 1).bit_length()"
WRONG["lab2_kmeans"] |= _table(
    "storage_bits",
    {"storage_count": 2},
    {
        "storage: log2 rounded down": "return count * int(np.log2(k)) + k * value_bits",
        "storage: log2 as it is": "return count * np.log2(k) + k * value_bits",
        "storage: off by one at powers of two": """
        return count * int(k).bit_length() + k * value_bits""",
        "storage: no codebook": f"return count * {INDEX_BITS}",
        "storage: one value too few": f"return count * {INDEX_BITS} + (k - 1) * value_bits",
        "storage: bytes": f"return (count * {INDEX_BITS} + k * value_bits) // 8",
        "storage: 32 bits always": f"return count * {INDEX_BITS} + k * 32",
        "storage: at least one bit": f"return count * max(1, {INDEX_BITS}) + k * value_bits",
        "storage: rounded up to bytes": f"""
        return -(-count * {INDEX_BITS} // 8) * 8 + k * value_bits""",
    },
)

GRADIENT_SUMS = "np.bincount(indices.ravel(), weight_gradients.ravel(), minlength=len(codebook))"
WRONG["lab2_kmeans"] |= _table(
    "fine_tune_step",
    {"fine_tune_values": 2},
    {
        "fine-tune: mean instead of sum": f"""
        sums = {GRADIENT_SUMS}
        counts = np.bincount(indices.ravel(), minlength=len(codebook))
        return codebook - rate * sums / np.maximum(counts, 1)""",
        "fine-tune: uphill": f"return codebook + rate * {GRADIENT_SUMS}",
        "fine-tune: only the last of equal indices": """
        tuned = codebook.copy()
        tuned[indices] -= rate * weight_gradients
        return tuned""",
        "fine-tune: no rate": f"return codebook - {GRADIENT_SUMS}",
        "fine-tune: gradients returned": f"return rate * {GRADIENT_SUMS}",
        "fine-tune: unused values dropped": """
        used = np.unique(indices)
        return np.array("""
        "[codebook[j] - rate * weight_gradients[indices == j].sum() for j in used])",
        "fine-tune: first row only": """
        tuned = codebook.copy()
        np.subtract.at(tuned, indices[0], rate * weight_gradients[0])
        return tuned""",
        "fine-tune: the weights instead of the codebook": """
        return codebook[indices] - rate * weight_gradients""",
        "fine-tune: unchanged": "return codebook",
    },
)

RIGHT["lab2_kmeans"] = {
    "cluster: a loop that prints and warns": (
        "cluster",
        """
        import sys
        import warnings
        flat = sorted(float(w) for w in weights.ravel())
        codebook = [flat[0] + (flat[-1] - flat[0]) * j / max(1, k - 1) for j in range(k)]
        for step in range(300):
            print("round", step, "*" * 200)
            groups = [[] for _ in range(k)]
            for w in flat:
                groups[min(range(k), key=lambda j: abs(w - codebook[j]))].append(w)
            moved = [sum(group) / len(group) if group else c for group, c in zip(groups, codebook)]
            if max(abs(a - b) for a, b in zip(moved, codebook)) < 1e-4 * (flat[-1] - flat[0]) / k:
                break
            codebook = moved
        warnings.warn("no longer moving")
        print("done", file=sys.stderr)
        return codebook""",
    ),
    "cluster: scikit-learn": (
        "cluster",
        """
        from sklearn.cluster import KMeans
        start = np.linspace(weights.min(), weights.max(), k).reshape(-1, 1)
        return KMeans(k, init=start, n_init=1).fit(weights.reshape(-1, 1))"""
        ".cluster_centers_.ravel()",
    ),
    "cluster: in float32, plotted": (
        "cluster",
        """
        import matplotlib.pyplot as plt
        plt.hist(weights.ravel())
        flat, codebook = weights.ravel(), """
        """np.linspace(weights.min(), weights.max(), k, dtype=np.float32)
        for _ in range(300):
            nearest = np.abs(flat[:, None] - codebook).argmin(axis=1)
            for j in set(nearest):
                codebook[j] = flat[nearest == j].mean()
        plt.vlines(codebook, 0, 100)
        plt.show()
        return codebook[::-1]""",
    ),
    "assign: loops, nested lists": (
        "assign",
        """
        def nearest(w):
            if np.ndim(w):
                return [nearest(part) for part in w]
            return min(range(len(codebook)), key=lambda j: abs(float(w) - codebook[j]))
        return nearest(weights)""",
    ),
    "assign: torch": (
        "assign",
        """
        import torch
        distance = (torch.as_tensor(weights).unsqueeze(-1) - """
        """torch.as_tensor(codebook, dtype=torch.float32)).abs()
        return distance.argmin(dim=-1)""",
    ),
    "assign: sorted first": (
        "assign",
        """
        order = np.argsort(codebook)
        ascending = codebook[order]
        return order[np.searchsorted((ascending[1:] + ascending[:-1]) / 2, weights)]"""
        ".astype(np.uint16)",
    ),
    "reconstruct: float32 torch": (
        "reconstruct",
        """
        import torch
        return torch.from_numpy(codebook).float()[torch.from_numpy(indices).long()]"""
        ".requires_grad_()",
    ),
    "reconstruct: take": ("reconstruct", "return np.take(codebook, indices).astype(np.float32)"),
    "storage: logarithm, as a float": (
        "storage_bits",
        """
        return np.float64(count * np.ceil(np.log2(k)) + k * value_bits)""",
    ),
    "storage: counting up": (
        "storage_bits",
        """
        bits = 0
        while 2 ** bits < k:
            bits += 1
        return np.array([count * bits + k * value_bits])""",
    ),
    "fine-tune: a loop in float32": (
        "fine_tune_step",
        """
        tuned = np.array(codebook, dtype=np.float32)
        for j, gradient in zip(indices.ravel(), weight_gradients.ravel()):
            tuned[j] -= rate * gradient
        return tuned""",
    ),
    "fine-tune: np.subtract.at": (
        "fine_tune_step",
        """
        np.subtract.at(codebook, indices, rate * weight_gradients)
        return codebook.tolist()""",
    ),
}

_FILE = {"own_layer_file": 2}
DAMAGED["lab2_kmeans"] = {
    "my_layer: random indices, right codebook": (
        "my_layer.npz",
        rewrite(indices=lambda array: np.random.default_rng(0).integers(0, 16, array.shape)),
        _FILE,
    ),
    "my_layer: indices off by one": (
        "my_layer.npz",
        rewrite(indices=lambda array: (array + 1) % 16),
        _FILE,
    ),
    "my_layer: codebook sorted afterwards": (
        "my_layer.npz",
        rewrite(codebook=lambda array: np.sort(array)[::-1]),
        _FILE,
    ),
    "my_layer: another student's": (
        "my_layer.npz",
        rewrite(codebook=lambda array: 1.3 * array),
        _FILE,
    ),
    "my_layer: transposed": ("my_layer.npz", rewrite(indices=np.transpose), _FILE),
    "my_layer: pickled": (
        "my_layer.npz",
        rewrite(indices=lambda array: array.astype(object)),
        _FILE,
    ),
    "my_layer: cut short": (
        "my_layer.npz",
        lambda path: path.write_bytes(path.read_bytes()[:500]),
        _FILE,
    ),
    "my_layer: text": ("my_layer.npz", lambda path: path.write_text("see e-mail"), _FILE),
    "my_layer: not submitted": ("my_layer.npz", lambda path: path.unlink(), _FILE),
}

# ----------------------------------------------------------------------- lab 3: affine quantization
WRONG["lab3_affine"] = _table(
    "scale_and_zero_point",
    {"scale_values": 2},
    {
        "scale: sign of the zero point": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (2**bits - 1) or 1.0
        return scale, -round(-(2 ** (bits - 1)) - low / scale) if high > low else 0""",
        "scale: zero point truncated": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (2**bits - 1) or 1.0
        return scale, int(-(2 ** (bits - 1)) - low / scale) if high > low else 0""",
        "scale: divided by 2**bits": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 2**bits or 1.0
        return scale, round(-(2 ** (bits - 1)) - low / scale) if high > low else 0""",
        "scale: range without 0 not widened": """
        scale = (high - low) / (2**bits - 1) or 1.0
        return scale, round(-(2 ** (bits - 1)) - low / scale) if high > low else 0""",
        "scale: unsigned": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (2**bits - 1) or 1.0
        return scale, round(-low / scale)""",
        "scale: symmetric": """
        largest = max(abs(low), abs(high))
        return (largest / (2 ** (bits - 1) - 1) or 1.0), 0""",
        "scale: empty range forgotten": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (2**bits - 1)
        return scale, round(-(2 ** (bits - 1)) - low / scale)""",
        "scale: 8 bits always": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        return scale, round(-128 - low / scale) if high > low else 0""",
        "scale: swapped": """
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / (2**bits - 1) or 1.0
        return (round(-(2 ** (bits - 1)) - low / scale) if high > low else 0), scale""",
    },
)

ROUND = {"quantize_round": 1}
CLIP = {"quantize_clip": 1}
CLIPPED = "np.clip({}, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)"
WRONG["lab3_affine"] |= _table(
    "quantize",
    ROUND | CLIP,
    {
        "quantize: truncation": (
            """
        lowest, highest = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        return np.clip((x / scale).astype(int) + zero_point, lowest, highest)""",
            ROUND,
        ),
        "quantize: rounded down": (
            f"return {CLIPPED.format('np.floor(x / scale) + zero_point')}.astype(int)",
            ROUND,
        ),
        "quantize: sign of the zero point": (
            f"return {CLIPPED.format('np.rint(x / scale) - zero_point')}.astype(int)",
            ROUND,
        ),
        "quantize: multiplied by the scale": (
            f"return {CLIPPED.format('np.rint(x * scale) + zero_point')}.astype(int)",
            ROUND | CLIP,
        ),
        "quantize: the ends only": (
            "return np.where(x < 0, -(2 ** (bits - 1)), 2 ** (bits - 1) - 1)",
            ROUND | CLIP,
        ),
        "quantize: no clip": ("return np.rint(x / scale).astype(int) + zero_point", CLIP),
        "quantize: cast instead of clip": (
            "return (np.rint(x / scale).astype(np.int64) + zero_point).astype(np.int8)",
            ROUND | CLIP,
        ),
        "quantize: clipped before the zero point": (
            f"q = {CLIPPED.format('np.rint(x / scale)')}.astype(int)\nreturn q + zero_point",
            CLIP,
        ),
        "quantize: unsigned ends": (
            "return np.clip(np.rint(x / scale) + zero_point, 0, 2**bits - 1).astype(int)",
            ROUND | CLIP,
        ),
        "quantize: 8 bits always": (
            "return np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(int)",
            ROUND | CLIP,
        ),
        "quantize: upper end one too far": (
            "return np.clip(np.rint(x / scale) + zero_point, -(2 ** (bits - 1)), 2 ** (bits - 1))"
            ".astype(int)",
            CLIP,
        ),
        "quantize: floats": f"return {CLIPPED.format('np.rint(x / scale) + zero_point')}",
        "quantize: flat": """
        return np.clip(np.rint(x.ravel() / scale) + zero_point, -128, 127).astype(int)""",
        "quantize: assert x == x": "assert np.array_equal(x, x)",
    },
)

DIFFERENCE = "(q.astype(np.int64) - zero_point)"
WRONG["lab3_affine"] |= _table(
    "dequantize",
    {"dequantize_values": 1},
    {
        "dequantize: wraps in int8": """
        return scale * (q - q.dtype.type(zero_point)).astype(np.float32)""",
        "dequantize: sign of the zero point": "return scale * (q.astype(np.int64) + zero_point)",
        "dequantize: zero point after the scale": """
        return scale * q.astype(np.float64) - zero_point""",
        "dequantize: divided": f"return {DIFFERENCE} / scale",
        "dequantize: no zero point": "return scale * q.astype(np.float64)",
        "dequantize: cut to whole numbers": f"return (scale * {DIFFERENCE}).astype(int)",
        "dequantize: half precision": f"return (scale * {DIFFERENCE}).astype(np.float16)",
        "dequantize: flat": "return scale * (q.ravel().astype(np.int64) - zero_point)",
        "dequantize: as if signed": """
        return scale * (q.astype(np.int8).astype(np.int64) - zero_point)""",
    },
)

PER_CHANNEL = """
highest = 2 ** (bits - 1) - 1
axes = tuple(range(1, weights.ndim))
largest = {largest}
scales = np.where(largest > 0, largest / {marks}, {empty})
q = {rounding}(weights / scales)
return q.astype(int), {scales}
"""
EXACT = {
    "largest": "np.abs(weights).max(axis=axes, keepdims=True)",
    "marks": "highest",
    "empty": "1.0",
    "rounding": "np.rint",
    "scales": "scales.ravel()",
}
WRONG["lab3_affine"] |= _table(
    "quantize_per_channel",
    {"per_channel_values": 2},
    {
        name: PER_CHANNEL.format(**EXACT | change)
        for name, change in {
            "per channel: per tensor": {
                "largest": "np.abs(weights).max()",
                "scales": "np.full(len(weights), scales)",
            },
            "per channel: second axis": {
                "largest": "np.abs(weights).max("
                "axis=tuple(a for a in range(weights.ndim) if a != 1), keepdims=True)"
            },
            "per channel: largest without absolute value": {
                "largest": "weights.max(axis=axes, keepdims=True)"
            },
            "per channel: truncation": {"rounding": "np.trunc"},
            "per channel: one mark too many": {"marks": "(highest + 1)"},
            "per channel: 8 bits always": {"marks": "127"},
            "per channel: NaN for zeros": {"empty": "np.nan"},
            "per channel: scale 0 for zeros": {"empty": "0.0", "rounding": "np.nan_to_num"},
            "per channel: scales of another shape": {"scales": "scales"},
            "per channel: inverse scales": {"scales": "1 / scales.ravel()"},
        }.items()
    },
)
WRONG["lab3_affine"] |= _table(
    "quantize_per_channel",
    {"per_channel_values": 2},
    {
        "per channel: a random tensor with the right levels": """
        highest = 2 ** (bits - 1) - 1
        largest = np.abs(weights.reshape(len(weights), -1)).max(axis=1)
        return np.random.default_rng(0).integers(-highest, highest + 1, weights.shape), """
        "np.where(largest > 0, largest / highest, 1.0)"
    },
)

WRONG["lab3_affine"] |= _table(
    "multiplier_and_shift",
    {"multiplier_values": 2},
    {
        "multiplier: truncated": """
        fraction, exponent = np.frexp(real)
        return int(fraction * 2.0**31), 31 - int(exponent)""",
        "multiplier: sign of the shift": """
        fraction, exponent = np.frexp(real)
        m0 = round(fraction * 2.0**31)
        return (m0 // 2, exponent - 30) if m0 == 2**31 else (m0, exponent - 31)""",
        "multiplier: always 31": "return round(real * 2**31), 31",
        "multiplier: 32 bits": """
        fraction, exponent = np.frexp(real)
        return round(fraction * 2.0**32), 32 - int(exponent)""",
        "multiplier: 30 bits": """
        fraction, exponent = np.frexp(real)
        return round(fraction * 2.0**30), 30 - int(exponent)""",
        "multiplier: 2**31 where rounding reaches it": """
        fraction, exponent = np.frexp(real)
        return round(fraction * 2.0**31), 31 - int(exponent)""",
        "multiplier: only below 1": """
        n = 31
        while real < 0.5:
            real, n = real * 2, n + 1
        m0 = round(real * 2**31)
        return (m0 // 2, n - 1) if m0 == 2**31 else (m0, n)""",
        "multiplier: in float32": """
        fraction, exponent = np.frexp(np.float32(real))
        m0 = round(float(fraction) * 2.0**31)
        return (m0 // 2, 30 - int(exponent)) if m0 == 2**31 else (m0, 31 - int(exponent))""",
        "multiplier: a float": """
        fraction, exponent = np.frexp(real)
        return fraction, -int(exponent)""",
    },
)

R_ROUND = {"requantize_round": 1}
R_CLIP = {"requantize_clip": 1}
REQUANTIZE = """
products = accumulators.astype(np.int64) * m0
return np.clip({rounded} + zero_point, -128, 127).astype(np.int8)
"""
AWAY = "np.sign(products) * ((np.abs(products) + (1 << (n - 1))) >> n)"
WRONG["lab3_affine"] |= _table(
    "requantize",
    R_ROUND | R_CLIP,
    {
        "requantize: bare shift": (REQUANTIZE.format(rounded="(products >> n)"), R_ROUND),
        "requantize: toward zero": REQUANTIZE.format(
            rounded="np.sign(products) * (np.abs(products) >> n)"
        ),
        "requantize: ties upward": (
            REQUANTIZE.format(rounded="((products + (1 << (n - 1))) >> n)"),
            R_ROUND,
        ),
        "requantize: ties to even, in float64": (
            REQUANTIZE.format(rounded="np.rint(products / 2.0**n)"),
            R_ROUND,
        ),
        "requantize: ties away, in float64": (
            REQUANTIZE.format(
                rounded="np.sign(products) * np.floor(np.abs(accumulators * (m0 / 2.0**n)) + 0.5)"
            ),
            R_ROUND,
        ),
        "requantize: float32": (
            REQUANTIZE.format(
                rounded="np.rint(accumulators.astype(np.float32) * np.float32(m0 / 2.0**n))"
            ),
            R_ROUND,
        ),
        "requantize: rounded twice": (
            REQUANTIZE.format(
                rounded="((((products + (1 << 30)) >> 31) + (1 << (n - 32))) >> (n - 31))"
            ),
            R_ROUND,
        ),
        "requantize: products in 32 bits": (
            "products = accumulators * np.int32(m0)\n"
            f"return np.clip({AWAY} + zero_point, -128, 127).astype(np.int8)",
            R_ROUND | R_CLIP,
        ),
        "requantize: no clip": (
            REQUANTIZE.format(rounded=AWAY).replace("np.clip(", "(").replace(", -128, 127)", ")"),
            R_CLIP,
        ),
        "requantize: zero point after the clip": (
            REQUANTIZE.format(rounded=AWAY)
            .replace("np.clip(", "(np.clip(")
            .replace(" + zero_point, -128, 127)", ", -128, 127) + zero_point)"),
            R_CLIP,
        ),
        "requantize: sign of the zero point": (
            REQUANTIZE.format(rounded=AWAY).replace("+ zero_point", "- zero_point"),
            R_CLIP,
        ),
        "requantize: unsigned ends": REQUANTIZE.format(rounded=AWAY).replace(
            "-128, 127).astype(np.int8)", "0, 255)"
        ),
        "requantize: a step too many": REQUANTIZE.format(
            rounded=AWAY.replace(">> n", ">> (n + 1)")
        ),
    },
)

LINEAR = """
accumulators = {accumulators}
products = accumulators.astype(np.int64) * m0
return np.clip({rounded} + y_zero, -128, 127).astype(np.int8)
"""
SUMS = "(x.astype(np.int32) - x_zero) @ weights.astype(np.int32).T + bias"
L_SUMS = {"linear_accumulate": 1}
L_BITS = {"linear_bits": 1}
WRONG["lab3_affine"] |= _table(
    "integer_linear",
    L_SUMS | L_BITS,
    {
        "linear: wraps in int8": LINEAR.format(
            accumulators="(x - np.int8(x_zero)) @ weights.T + bias", rounded=AWAY
        ),
        "linear: sign of the input's zero point": LINEAR.format(
            accumulators=SUMS.replace("- x_zero", "+ x_zero"), rounded=AWAY
        ),
        "linear: no bias": LINEAR.format(accumulators=SUMS.replace(" + bias", ""), rounded=AWAY),
        "linear: weights not transposed": LINEAR.format(
            accumulators=SUMS.replace(".T", ""), rounded=AWAY
        ),
        "linear: transposed": LINEAR.format(accumulators=SUMS, rounded=AWAY).replace(
            ".astype(np.int8)", ".astype(np.int8).T"
        ),
        "linear: one multiplier for all": (
            LINEAR.format(accumulators=SUMS, rounded=AWAY)
            .replace("* m0", "* m0[0]")
            .replace("n - 1", "n[0] - 1")
            .replace(">> n)", ">> n[0])"),
            L_SUMS | L_BITS,
        ),
        "linear: no clip": LINEAR.format(accumulators=SUMS, rounded=AWAY)
        .replace("np.clip(", "(")
        .replace(", -128, 127)", ")"),
        "linear: the output's zero point forgotten": LINEAR.format(
            accumulators=SUMS, rounded=AWAY
        ).replace(" + y_zero", ""),
        "linear: a float in the integer path": (
            LINEAR.format(accumulators=SUMS, rounded="np.rint(accumulators * (m0 / 2.0**n))"),
            L_BITS,
        ),
        "linear: a float in the integer path, ties away": (
            LINEAR.format(
                accumulators=SUMS,
                rounded="np.sign(accumulators) * "
                "np.floor(np.abs(accumulators * (m0 / 2.0**n)) + 0.5)",
            ),
            L_BITS,
        ),
        "linear: float32 sums": (
            LINEAR.format(accumulators=f"({SUMS}).astype(np.float32)", rounded=AWAY),
            L_BITS,
        ),
        "linear: ties upward": (
            LINEAR.format(accumulators=SUMS, rounded="((products + (1 << (n - 1))) >> n)"),
            L_BITS,
        ),
        "linear: bare shift": LINEAR.format(accumulators=SUMS, rounded="(products >> n)"),
    },
)

RIGHT["lab3_affine"] = {
    "scale: torch, ties, arrays": (
        "scale_and_zero_point",
        """
        import torch
        low, high = torch.tensor(low).clamp(max=0.0).double(), """
        """torch.tensor(high).clamp(min=0.0).double()
        if low == high:
            return torch.tensor([1.0, 0.0])
        scale = (high - low) / (2**bits - 1)
        return scale, torch.round(-(2 ** (bits - 1)) - low / scale).int()""",
    ),
    "scale: rounded another way": (
        "scale_and_zero_point",
        """
        alpha, beta = np.float32(min(low, 0)), np.float32(max(high, 0))
        if beta == alpha:
            return np.float32(1), np.int8(0)
        s = (beta - alpha) / np.float32(2**bits - 1)
        return [s, np.floor(0.5 - 2.0 ** (bits - 1) - alpha / s)]""",
    ),
    "quantize: a loop that prints": (
        "quantize",
        """
        import math
        import warnings
        warnings.warn("slow")
        result = np.zeros(x.shape, int)
        for place in np.ndindex(x.shape):
            q = math.floor(float(x[place]) / scale + 0.5) + zero_point
            print(place, q)
            result[place] = max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, q))
        return result""",
    ),
    "quantize: torch": (
        "quantize",
        """
        import torch
        q = torch.round(torch.from_numpy(x).double() / scale) + zero_point
        return q.clamp(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1).to(torch.int16)""",
    ),
    "dequantize: float32": (
        "dequantize",
        "return np.float32(scale) * (q.astype(np.float32) - np.float32(zero_point))",
    ),
    "dequantize: a list": (
        "dequantize",
        "return ((q.astype(np.int16) - zero_point) * scale).tolist()",
    ),
    "per channel: a loop, float32, int8": (
        "quantize_per_channel",
        """
        highest, scales, rows = 2 ** (bits - 1) - 1, [], []
        for row in weights:
            scale = np.float32(np.abs(row).max() / highest) or np.float32(1)
            scales.append(scale)
            rows.append(np.clip(np.round(row / scale), -highest, highest).astype(np.int8))
        return np.stack(rows), scales""",
    ),
    "multiplier: a loop": (
        "multiplier_and_shift",
        """
        n = 0
        while real < 2**30:
            real, n = real * 2, n + 1
        while round(real) >= 2**31:
            real, n = real / 2, n - 1
        return np.int64(round(real)), n""",
    ),
    "requantize: Python's own integers": (
        "requantize",
        """
        a, m, s = np.broadcast_arrays(accumulators, m0, n)
        result = np.zeros(a.shape, np.int8)
        for place in np.ndindex(a.shape):
            product, shift = int(a[place]) * int(m[place]), int(s[place])
            size = (abs(product) + 2 ** (shift - 1)) // 2**shift
            result[place] = max(-128, min(127, (size if product >= 0 else -size) + zero_point))
        return result""",
    ),
    "requantize: ties by a correction": (
        "requantize",
        """
        products = accumulators.astype(np.int64) * m0
        rounded = (products + (np.int64(1) << (n - 1)) - (products < 0)) >> n
        return np.clip(rounded + zero_point, -128, 127)""",
    ),
    "linear: the zero point folded into the bias": (
        "integer_linear",
        """
        constant = bias - x_zero * weights.astype(np.int32).sum(axis=1)
        products = (np.einsum("ik,jk->ij", x.astype(np.int64), weights.astype(np.int64)) """
        """+ constant) * m0
        rounded = (products + (np.int64(1) << (n - 1)) - (products < 0)) >> n
        return np.clip(rounded + y_zero, -128, 127).astype(np.int8)""",
    ),
    "linear: sums in float64, which holds them exactly": (
        "integer_linear",
        """
        sums = (x.astype(np.float64) - x_zero) @ weights.T.astype(np.float64) + bias
        return requantize(sums.astype(np.int64), m0, n, y_zero)""",
    ),
}

_OUTPUTS = {"own_layer_file": 1}
DAMAGED["lab3_affine"] = {
    "my_layer: one bit wrong": (
        "my_layer.npz",
        rewrite(outputs=lambda array: array ^ (np.arange(array.size).reshape(array.shape) == 77)),
        _OUTPUTS,
    ),
    "my_layer: another student's": (
        "my_layer.npz",
        rewrite(outputs=lambda array: array[::-1]),
        _OUTPUTS,
    ),
    "my_layer: floats": (
        "my_layer.npz",
        rewrite(outputs=lambda array: array.astype(np.float32)),
        _OUTPUTS,
    ),
    "my_layer: transposed": ("my_layer.npz", rewrite(outputs=np.transpose), _OUTPUTS),
    "my_layer: not submitted": ("my_layer.npz", lambda path: path.unlink(), _OUTPUTS),
}

# -------------------------------------------------------------------------- lab 1: train and export
WILSON = """
n, zeta = len(labels), 1.96
p = {p}
middle = p + zeta**2 / (2 * n)
half = zeta * np.sqrt(p * (1 - p) / n + zeta**2 / (4 * n**2))
return {value}, (middle - half) / (1 + zeta**2 / n), (middle + half) / (1 + zeta**2 / n)
"""
HITS = "float((logits.argmax(axis=1) == labels).mean())"
WRONG["lab1_train_and_export"] = _table(
    "accuracy_with_interval",
    {"accuracy_values": 2},
    {
        "accuracy: Wald's interval": f"""
        p = {HITS}
        half = 1.96 * np.sqrt(p * (1 - p) / len(labels))
        return p, p - half, p + half""",
        "accuracy: in per cent": WILSON.format(p=HITS, value="100 * p"),
        "accuracy: the errors": WILSON.format(p=f"1 - {HITS}", value="p"),
        "accuracy: swapped axes": WILSON.format(
            p=HITS.replace("argmax(axis=1)", "argmax(axis=0)[labels]"), value="p"
        ),
        "accuracy: middle of the interval": WILSON.format(
            p=HITS, value="middle / (1 + zeta**2 / n)"
        ),
        "accuracy: 90 % interval": WILSON.format(p=HITS, value="p").replace("1.96", "1.645"),
        "accuracy: ends swapped": WILSON.format(p=HITS, value="p").replace(
            "(middle - half)", "(middle + half)", 1
        ),
        "accuracy: smallest logit": WILSON.format(p=HITS.replace("argmax", "argmin"), value="p"),
        "accuracy: assert x == x": "assert (labels == labels).all()\nreturn 1.0, 1.0, 1.0",
    },
)
CHANGED = "reference.argmax(axis=1) != candidate.argmax(axis=1)"
LARGEST = "np.abs(reference - candidate).max()"
WRONG["lab1_train_and_export"] |= _table(
    "parity",
    {"parity_values": 2},
    {
        "parity: unchanged answers counted": f"""
        return np.sum({CHANGED.replace("!=", "==")}), {LARGEST}""",
        "parity: no absolute value": f"""
        return np.sum({CHANGED}), (candidate - reference).max()""",
        "parity: mean difference": f"""
        return np.sum({CHANGED}), np.abs(reference - candidate).mean()""",
        "parity: swapped axes": f"""
        return np.sum({CHANGED.replace("axis=1", "axis=0")}), {LARGEST}""",
        "parity: as a share": f"""
        return np.mean({CHANGED}), {LARGEST}""",
        "parity: difference of the largest logits": f"""
        return np.sum({CHANGED}), np.abs(reference.max(1) - candidate.max(1)).max()""",
        "parity: assert x == x": "assert np.array_equal(reference, reference)\nreturn 0, 0.0",
    },
)
RIGHT["lab1_train_and_export"] = {
    "accuracy: a loop that prints and warns": (
        "accuracy_with_interval",
        """
        import math
        import warnings
        warnings.warn("slow")
        right = 0
        for label, row in zip(labels, logits):
            print(label, row)
            right += int(max(range(len(row)), key=lambda j: row[j]) == label)
        n, z = len(labels), 1.959964
        p = right / n
        root = z * math.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
        return [p, (p + z * z / (2 * n) - root) / (1 + z * z / n), """
        "(p + z * z / (2 * n) + root) / (1 + z * z / n)]",
    ),
    "accuracy: the helper": (
        "accuracy_with_interval",
        """
        from helpers.metrics import accuracy
        found = accuracy(labels, logits.argmax(1))
        return found.value, found.low, found.high""",
    ),
    "parity: torch": (
        "parity",
        """
        a, b = torch.from_numpy(reference), torch.from_numpy(candidate)
        return (a.argmax(1) != b.argmax(1)).sum(), (a.double() - b.double()).abs().max()""",
    ),
}


def swap_with(other: str):
    """A damage: the content of another submitted file."""
    return lambda path: path.write_bytes(path.with_name(other).read_bytes())


def turn_classes(path):
    """What another student's file is for this one: a network with its ten outputs reordered."""
    import onnx

    model = onnx.load(path)
    order = onnx.numpy_helper.from_array(np.roll(np.arange(10), 1), "order")
    output = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = ["before" if name == output else name for name in node.output]
    model.graph.initializer.append(order)
    model.graph.node.append(onnx.helper.make_node("Gather", ["before", "order"], [output], axis=1))
    onnx.save(model, path)


def noisy(path):
    """The largest table of weights, changed by 1 %: it still classifies, and is another network."""
    import onnx

    model = onnx.load(path)
    table = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    changed = onnx.numpy_helper.to_array(table) * np.float32(1.01)
    table.CopyFrom(onnx.numpy_helper.from_array(changed, table.name))
    onnx.save(model, path)


def append_zeros(path):
    """A file that is too large, and runs: an initializer that nothing uses."""
    import onnx

    model = onnx.load(path)
    ballast = onnx.numpy_helper.from_array(np.zeros(150_000, np.float32), "ballast")
    model.graph.initializer.append(ballast)
    onnx.save(model, path)


def elsewhere(path):
    """The weights in a file beside this one, which then is small."""
    import onnx

    onnx.save(onnx.load(path), path, save_as_external_data=True, location=f"{path.name}.data")


def constants(path):
    """Both files: networks that give the logits 0 to 9 whatever the image, in a few kB."""
    import torch

    from helpers import convert

    class Constant(torch.nn.Module):
        def forward(self, x):
            return 0 * x.flatten(1)[:, :10] + torch.arange(10.0)

    convert.to_onnx(Constant(), torch.zeros(1, 1, 28, 28), path)
    convert.to_tflite(Constant(), torch.zeros(1, 1, 28, 28), path.with_suffix(".tflite"))


_ONNX = {"onnx_accuracy": 3, "files_parity": 3, "files_small": 1}
_TFLITE = {"tflite_accuracy": 3, "files_parity": 3, "files_small": 1}
DAMAGED["lab1_train_and_export"] = {
    "onnx: not submitted": ("model.onnx", lambda path: path.unlink(), _ONNX),
    "onnx: another student's": (
        "model.onnx",
        turn_classes,
        {"onnx_accuracy": 3, "files_parity": 3},
    ),
    "onnx: weights in another file": ("model.onnx", elsewhere, {"files_small": 1}),
    "both: a constant network": ("model.onnx", constants, _ONNX | _TFLITE),
    "onnx: another network": ("model.onnx", noisy, {"files_parity": 3}),
    "onnx: too large": ("model.onnx", append_zeros, {"files_small": 1}),
    "onnx: the TFLite file renamed": ("model.onnx", swap_with("model.tflite"), _ONNX),
    "tflite: cut short": (
        "model.tflite",
        lambda path: path.write_bytes(path.read_bytes()[:90_000]),
        _TFLITE,
    ),
    "tflite: text": ("model.tflite", lambda path: path.write_text("model"), _TFLITE),
    "tflite: not submitted": ("model.tflite", lambda path: path.unlink(), _TFLITE),
}


# -------------------------------------------------------------------------- lab 5: records of times
RANK = "int(samples.size * q / 100)"
PLACE = f"min(samples.size - 1, {RANK})"
WRONG["lab5_benchmark_your_pi"] = _table(
    "percentile",
    {"percentile_values": 2},
    {
        "percentile: unsorted": f"return samples.ravel()[{PLACE}]",
        "percentile: interpolated": "return np.percentile(samples, q)",
        "percentile: of the first row": """
        return np.sort(samples.ravel()[:len(samples[0]) if samples.ndim > 1 else None])[0]""",
        "percentile: off by one": f"return np.sort(samples, axis=None)[max(0, {RANK} - 1)]",
        "percentile: beyond the end": f"return np.sort(samples, axis=None)[{RANK}]",
        "percentile: the mean": "return samples.mean()",
        "percentile: from above": f"return np.sort(samples, axis=None)[::-1][{PLACE}]",
        "percentile: rows sorted apart": f"return np.sort(samples).ravel()[{PLACE}]",
    },
)
WRONG["lab5_benchmark_your_pi"] |= _table(
    "contention",
    {"contention_values": 1},
    {
        "contention: the share it ran": """
        wall, cpu = round_ns.sum(axis=0)
        return min(1.0, cpu / wall)""",
        "contention: columns swapped": """
        cpu, wall = round_ns.sum(axis=0)
        return max(0.0, 1 - cpu / wall)""",
        "contention: swapped axes": """
        total = round_ns.sum(axis=1)
        return max(0.0, 1 - total[1] / total[0])""",
        "contention: below 0": """
        wall, cpu = round_ns.sum(axis=0)
        return 1 - cpu / wall""",
        "contention: mean of the rounds": """
        return max(0.0, (1 - round_ns[:, 1] / round_ns[:, 0]).mean())""",
        "contention: in per cent": """
        wall, cpu = round_ns.sum(axis=0)
        return max(0.0, 100 * (1 - cpu / wall))""",
    },
)
RIGHT["lab5_benchmark_your_pi"] = {
    "percentile: the helper": ("percentile", "return timing.percentile(samples, q)"),
    "percentile: a list, printed": (
        "percentile",
        """
        ordered = sorted(int(s) for s in samples.ravel())
        print(ordered)
        return ordered[min(len(ordered) - 1, len(ordered) * q // 100)]""",
    ),
    "contention: a loop": (
        "contention",
        """
        wall = sum(int(w) for w, _ in round_ns)
        cpu = sum(int(c) for _, c in round_ns)
        return 0 if cpu > wall else (wall - cpu) / wall""",
    ),
}


def edit(path: Path, change) -> None:
    """Replace each record of a file, a nested dict, by `change(number, record)`; None drops it."""
    lines = path.read_text().splitlines()
    changed = [change(number, json.loads(line)) for number, line in enumerate(lines)]
    path.write_text("".join(json.dumps(record) + "\n" for record in changed if record is not None))


def records(change):
    """A damage: `change(record)` spoils every record, a dict as in the file."""

    def spoiled(number, record):
        record = copy.deepcopy(record)
        change(record)
        return record

    return lambda path: edit(path, spoiled)


def _faster(record):
    record["latency_ns"]["p50"] *= 0.8


def _invented(record):
    shape = np.shape(record["samples_ns"])
    record["samples_ns"] = np.full(shape, int(record["latency_ns"]["p50"])).tolist()


def _few(record):
    samples = np.array(record["samples_ns"])[:8, :10]
    ordered = np.sort(samples, axis=None)
    record["samples_ns"] = samples.tolist()
    record["method"] |= {"rounds": 8, "calls_per_round": 10}
    record["latency_ns"] |= {
        "n": 80,
        "min": int(ordered[0]),
        "mean": float(ordered.mean()),
        **{f"p{q}": float(ordered[80 * q // 100]) for q in (50, 90, 99)},
    }
    interval = Latency(samples, samples, samples[:, :2], WarmUp(1, 1, True)).interval(50)
    record["latency_ns"]["p50_ci"] = [interval.low, interval.high]


def _copied(record):
    """The conditions of another run beside the times of this one."""
    record["conditions"]["after"]["at"] = "2031-01-01T00:00:00.000+00:00"


def _bare(record):
    """What a dozen lines of numpy write: all that the statistics need, nothing of the machine."""
    method = record["method"]
    conditions = record["conditions"]
    record["method"] = {name: method[name] for name in ("rounds", "calls_per_round", "seed")}
    record["host"] = {"machine_id": "0123abcd"}
    record["conditions"] = {when: {"at": conditions[when]["at"]} for when in ("before", "after")}
    kept = (
        "schema_version run_id conditions model runtime latency_ns samples_ns valid batch quality"
    )
    for name in set(record) - {*kept.split(), "method", "host"}:
        del record[name]


def _thousands_of_lines() -> str:
    return "".join(f'{{"schema_version": 1, "k{i}": 1}}\n' for i in range(7000))


def _only_first(path):
    edit(path, lambda number, record: None if number else record)


_ALL_RECORDS = {"records_sound": 4, "records_enough": 2, "records_yours": 2, "records_accuracy": 3}
_SOUND = {"records_sound": 4}
DAMAGED["lab5_benchmark_your_pi"] = {
    "records: p50 made smaller": ("records.jsonl", records(_faster), _SOUND),
    "records: times invented": ("records.jsonl", records(_invented), _SOUND),
    "records: void": (
        "records.jsonl",
        records(lambda r: r.update(valid=False, void_reasons=["the Pi reported: throttled"])),
        _SOUND,
    ),
    "records: contended": ("records.jsonl", records(lambda r: r.update(contention=0.4)), _SOUND),
    "records: no conditions": (
        "records.jsonl",
        records(lambda r: r.update(conditions={"before": {}, "after": {}})),
        _SOUND,
    ),
    "records: conditions of another run": ("records.jsonl", records(_copied), _SOUND),
    "records: invented from scratch": ("records.jsonl", records(_bare), _SOUND),
    "records: too few calls": ("records.jsonl", records(_few), {"records_enough": 2}),
    "records: thousands of lines": (
        "records.jsonl",
        lambda path: path.write_text(_thousands_of_lines()),
        _ALL_RECORDS,
    ),
    "records: one file only": (
        "records.jsonl",
        _only_first,
        {"records_enough": 2, "records_yours": 2, "records_accuracy": 3},
    ),
    "records: four threads": (
        "records.jsonl",
        records(lambda r: r["runtime"].update(threads=4)),
        {"records_enough": 2},
    ),
    "records: another student's": (
        "records.jsonl",
        records(lambda r: r["method"].update(seed=7)),
        {"records_yours": 2},
    ),
    "records: of other files": (
        "records.jsonl",
        records(lambda r: r["model"].update(sha256="0" * 64)),
        {"records_yours": 2},
    ),
    "records: accuracy made up": (
        "records.jsonl",
        records(lambda r: r["quality"].update(value=0.9)),
        {"records_accuracy": 3},
    ),
    "records: no accuracy": (
        "records.jsonl",
        records(lambda r: r.update(quality={})),
        {"records_accuracy": 3},
    ),
    "records: not submitted": ("records.jsonl", lambda path: path.unlink(), _ALL_RECORDS),
    "records: no JSON": ("records.jsonl", lambda path: path.write_text("p50 = 3 ms"), _ALL_RECORDS),
    "model: not submitted": (
        "lenet.onnx",
        lambda path: path.unlink(),
        {"records_yours": 2, "records_accuracy": 3},
    ),
    "model: another": ("lenet.onnx", noisy, {"records_yours": 2}),
}

# ------------------------------------------------------------------------ lab 4: quantized networks
FAKE = """
highest = 2 ** (bits - 1) - 1
scale = {scale}
return np.clip({rounded}, {ends}) * scale
"""
FAKE_OK = {
    "scale": "scale.reshape(-1, *[1] * (x.ndim - 1))",
    "rounded": "np.rint(x / scale)",
    "ends": "-highest, highest",
}
WRONG["lab4_ptq_qat"] = _table(
    "fake_quantize",
    {"fake_quantize_values": 2},
    {
        name: FAKE.format(**FAKE_OK | change)
        for name, change in {
            "fake: truncation": {"rounded": "np.trunc(x / scale)"},
            "fake: no clip": {"ends": "-np.inf, np.inf"},
            "fake: one mark too many": {"ends": "-highest - 1, highest"},
            "fake: per tensor": {"scale": "scale.max()"},
            "fake: scales along the last axis": {"scale": "np.resize(scale, x.shape[-1])"},
            "fake: unsigned": {"ends": "0, 2 * highest"},
        }.items()
    }
    | {
        "fake: integers": """
        s = scale.reshape(-1, *[1] * (x.ndim - 1))
        return np.clip(np.rint(x / s), 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)""",
        "fake: nothing done": "return x",
        "fake: assert x == x": "assert (x == x).all()",
    },
)
RIGHT["lab4_ptq_qat"] = {
    "fake: torch": (
        "fake_quantize",
        """
        highest = 2 ** (bits - 1) - 1
        zeros = torch.zeros(len(scale), dtype=torch.int32)
        return torch.fake_quantize_per_channel_affine("""
        "torch.from_numpy(x), torch.from_numpy(scale), zeros, 0, -highest, highest)",
    ),
    "fake: a loop in float64": (
        "fake_quantize",
        """
        highest = 2 ** (bits - 1) - 1
        return np.stack(["""
        "np.clip(np.floor(row.astype(float) / s + 0.5), -highest, highest) * float(s) "
        "for row, s in zip(x, scale)])",
    ),
}


def report(name, **entries):
    """A damage: other entries in one part of report.json."""

    def damage(path):
        content = json.loads(path.read_text())
        content[name] |= {key: change(content[name][key]) for key, change in entries.items()}
        path.write_text(json.dumps(content))

    return damage


def pad(path):
    """A number of bytes that nothing uses."""
    import onnx

    model = onnx.load(path)
    padding = onnx.numpy_helper.from_array(np.zeros(600_000, np.uint8), "padding")
    model.graph.initializer.append(padding)
    onnx.save(model, path)


def pretend(path):
    """The float network next to its padded self: other weights, an unused QuantizeLinear."""
    import onnx

    path.write_bytes(path.with_name("float.onnx").read_bytes())
    noisy(path)
    model = onnx.load(path)
    inputs = [model.graph.input[0].name, "some_scale"]
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.1), "some_scale"))
    model.graph.node.append(onnx.helper.make_node("QuantizeLinear", inputs, ["nowhere"]))
    onnx.save(model, path)
    pad(path.with_name("float.onnx"))


def note(path, source):
    """Another network's file with a note in it."""
    import onnx

    model = onnx.load(path.with_name(source))
    onnx.helper.set_model_props(model, {"int8": "QuantizeLinear"})
    onnx.save(model, path)


def small_outside(path):
    """The float network, which calls itself quantized, with its weights in a file of their own."""
    note(path, "float.onnx")
    elsewhere(path)


def as_ptq(**options):
    """The damage that is none: ptq.onnx by ONNX Runtime's quantizer with other options.

    report.json knows nothing of it.
    """

    def damage(path):
        from helpers import convert
        from helpers.data import mnist, normalize

        images = normalize(mnist("train").images[:200])
        convert.to_onnx_int8(path.with_name("float.onnx"), path, images, **options)

    return damage


def other_images(more: float):
    """A report made with other test images, on which the accuracies are a little or much higher."""

    def damage(path):
        found = json.loads(path.read_text())
        for name in ("float", "ptq", "qat"):
            for entry in ("accuracy", "low", "high"):
                found[name][entry] += more
            found[name]["changed"] = 40
        path.write_text(json.dumps(found | {"images": "MNIST, 10,000 test images"}))

    return damage


_REPORT = {"report_files": 2, "report_speed": 2}
DAMAGED["lab4_ptq_qat"] = {
    "report: size in kB": (
        "report.json",
        report("ptq", bytes=lambda n: n / 1000),
        {"report_files": 2},
    ),
    "report: accuracy made better": (
        "report.json",
        report("qat", accuracy=lambda a: a + 0.02),
        {"report_files": 2},
    ),
    "report: no interval": ("report.json", report("float", low=lambda a: None), _REPORT),
    "report: changed answers made fewer": (
        "report.json",
        report("qat", changed=lambda n: n + 60),
        {"report_files": 2},
    ),
    "report: speed-up invented": (
        "report.json",
        report("ptq", speedup=lambda r: 4.0),
        {"report_speed": 2},
    ),
    "report: speed-up upside down": (
        "report.json",
        report("qat", speedup=lambda r: 1.5 / r),
        {"report_speed": 2},
    ),
    "report: other images, an honest difference": ("report.json", other_images(0.01), {}),
    "report: other images, a better accuracy": (
        "report.json",
        other_images(0.08),
        {"report_files": 2},
    ),
    "records: fewer calls": ("records.jsonl", records(_few), {"report_speed": 2}),
    "report: not submitted": ("report.json", lambda path: path.unlink(), _REPORT),
    "report: a list": ("report.json", lambda path: path.write_text("[1, 2, 3]"), _REPORT),
    "records: not submitted": ("records.jsonl", lambda path: path.unlink(), {"report_speed": 2}),
    "records: void": (
        "records.jsonl",
        records(lambda r: r.update(valid=False)),
        {"report_speed": 2},
    ),
    "records: another student's": (
        "records.jsonl",
        records(lambda r: r["method"].update(seed=7)),
        {"report_speed": 2},
    ),
    "qat: the PTQ file again": (
        "qat.onnx",
        swap_with("ptq.onnx"),
        {"qat_file": 3, "report_files": 2, "report_speed": 2},
    ),
    "ptq: float beside a padded float": ("ptq.onnx", pretend, {"ptq_file": 3} | _REPORT),
    "ptq: float, weights in another file": ("ptq.onnx", small_outside, {"ptq_file": 3} | _REPORT),
    "qat: float, weights in another file": ("qat.onnx", small_outside, {"qat_file": 3} | _REPORT),
    "qat: the PTQ file with a note": (
        "qat.onnx",
        lambda path: note(path, "ptq.onnx"),
        {"qat_file": 3} | _REPORT,
    ),
    "float: weights in another file": (
        "float.onnx",
        elsewhere,
        {"float_file": 2, "ptq_file": 3, "qat_file": 3} | _REPORT,
    ),
    "float: padded": ("float.onnx", pad, _REPORT),
    "ptq: integer operators": ("ptq.onnx", as_ptq(qdq=False), _REPORT),
    "ptq: signed activations, per tensor": (
        "ptq.onnx",
        as_ptq(unsigned_activations=False, per_channel=False),
        _REPORT,
    ),
    "ptq: the float file": (
        "ptq.onnx",
        swap_with("float.onnx"),
        {"ptq_file": 3, "report_files": 2, "report_speed": 2},
    ),
    "ptq: another student's": (
        "ptq.onnx",
        turn_classes,
        {"ptq_file": 3, "report_files": 2, "report_speed": 2},
    ),
    "float: another student's": (
        "float.onnx",
        turn_classes,
        {"float_file": 2, "report_files": 2, "report_speed": 2},
    ),
}

# ---------------------------------------------------------------------------------- lab 6: capstone
DAMAGED["lab6_capstone"] = {
    "records: p50 made smaller": ("records.jsonl", records(_faster), _SOUND),
    "records: times invented": ("records.jsonl", records(_invented), _SOUND),
    "records: another student's": (
        "records.jsonl",
        records(lambda r: r["method"].update(seed=7)),
        {"records_yours": 2},
    ),
    "records: one candidate": ("records.jsonl", _only_first, {"records_yours": 2}),
    "records: too few calls": ("records.jsonl", records(_few), {"records_yours": 2}),
    "records: not submitted": (
        "records.jsonl",
        lambda path: path.unlink(),
        _SOUND | {"records_yours": 2},
    ),
}


# -------------------------------------------------------------------------------- lab 7: detection
def _variants(body: str, **parts: str):
    """variant(**changes): the body with its parts as they are right, or as `changes` says."""

    def variant(**changes: str) -> str:
        return dedent(body).format(**parts | changes)

    return variant


IOU_VALUES = {"iou_values": 1}
IOU_EDGES = {"iou_edges": 1}
_iou = _variants(
    """
    {boxes}
    upper_left = np.maximum(a[:, None, :2], b[None, :, :2])
    lower_right = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = {common}
    areas_a = (a[:, 2:] - a[:, :2]{more}).prod(axis=1)
    areas_b = (b[:, 2:] - b[:, :2]{more}).prod(axis=1)
    union = {union}
    return {result}""",
    boxes="",
    common="(lower_right - upper_left).clip(0).prod(axis=2)",
    more="",
    union="areas_a[:, None] + areas_b - common",
    result="np.divide(common, union, out=np.zeros_like(common), where=union > 0)",
)
IOU_BY_PAIR = """
def pair(p, q):
    width = max(0, min(p[2], q[2]) - max(p[0], q[0]))
    height = max(0, min(p[3], q[3]) - max(p[1], q[1]))
    union = (p[2] - p[0]) * (p[3] - p[1]) + (q[2] - q[0]) * (q[3] - q[1]) - width * height
    return width * height / union if union > 0 else 0.0

{before}
return [[pair(p, q) for q in b] for p in a]"""
WRONG["lab7_detection"] = _table(
    "iou_matrix",
    IOU_VALUES | IOU_EDGES,
    {
        "iou: widths + 1": _iou(
            common="(lower_right - upper_left + 1).clip(0).prod(axis=2)", more=" + 1"
        ),
        "iou: sides not clipped at 0": (
            _iou(common="(lower_right - upper_left).prod(axis=2)"),
            IOU_VALUES,
        ),
        "iou: the product clipped, not the sides": (
            _iou(common="(lower_right - upper_left).prod(axis=2).clip(0)"),
            IOU_VALUES,
        ),
        "iou: common part counted twice": (_iou(union="areas_a[:, None] + areas_b"), IOU_VALUES),
        "iou: divided by the smaller area": (
            _iou(union="np.minimum(areas_a[:, None], areas_b)"),
            IOU_VALUES,
        ),
        "iou: only the common area": (_iou(result="common"), IOU_VALUES),
        "iou: transposed": _iou(result="np.divide(common, union + (union == 0)).T"),
        "iou: boxes as x1, y1, width, height": _iou(
            boxes="a, b = (np.hstack([c[:, :2], c[:, :2] + c[:, 2:]]) for c in (a, b))"
        ),
        "iou: whole numbers": (
            _iou(
                boxes="a, b = a.astype(int), b.astype(int)",
                result="common / np.maximum(union, 1)",
            ),
            IOU_VALUES,
        ),
        "iou: rounded to two digits": (
            _iou(result="np.round(common / np.maximum(union, 1e-9), 2)"),
            IOU_VALUES,
        ),
        "iou: 0 / 0": (_iou(result="common / union"), IOU_EDGES),
        "iou: 1 for a box without an area and itself": (
            _iou(result="(common + 1e-9) / (union + 1e-9)"),
            IOU_EDGES,
        ),
        "iou: empty sets forgotten": (
            IOU_BY_PAIR.format(before="a[0], b[0]"),
            IOU_EDGES,
        ),
        "iou: pairs of equal positions": """
        n = min(len(a), len(b))
        upper_left, lower_right = np.maximum(a[:n, :2], b[:n, :2]), np.minimum(a[:n, 2:], b[:n, 2:])
        return (lower_right - upper_left).clip(0).prod(axis=1)""",
        "iou: from the library": """
        from helpers.metrics import box_iou
        return box_iou(a, b)""",
        "iou: from the library, by a text": """
        import importlib
        return importlib.import_module("helpers.metrics").box_iou(a, b)""",
        "iou: no numbers": "return np.full((len(a), len(b)), 'IoU')",
        "iou: None in a table": "return [[None] * len(b)] * len(a)",
        "iou: ragged": "return [[0.5] * j for j in range(len(a))]",
        "iou: larger than can be sent": "return np.zeros((9000, 9000))",
    },
)

_fit = _variants(
    """
    scale = {scale}
    rows = {rows}
    columns = {columns}
    left = {left}
    top = {top}
    return {result}""",
    scale="min(network_height / height, network_width / width)",
    rows="max(1, round(height * scale))",
    columns="max(1, round(width * scale))",
    left="(network_width - columns) // 2",
    top="(network_height - rows) // 2",
    result="scale, left, top",
)
WRONG["lab7_detection"] |= _table(
    "letterbox_fit",
    {"fit_values": 1},
    {
        "fit: the larger scale": _fit(scale="max(network_height / height, network_width / width)"),
        "fit: never enlarged": _fit(scale="min(1, network_height / height, network_width / width)"),
        "fit: the inverse scale": _fit(result="1 / scale, left, top"),
        "fit: two scales": _fit(result="(network_height / height, network_width / width), 0, 0"),
        "fit: a square input": _fit(scale="network_height / max(height, width)"),
        "fit: height and width swapped": _fit(
            scale="min(network_height / width, network_width / height)"
        ),
        "fit: left and top swapped": _fit(result="scale, top, left"),
        "fit: both borders on one side": _fit(
            left="network_width - columns", top="network_height - rows"
        ),
        "fit: no borders above and on the left": _fit(result="scale, 0, 0"),
        "fit: rounded down": _fit(
            rows="max(1, int(height * scale))", columns="max(1, int(width * scale))"
        ),
        "fit: rounded up": _fit(
            rows="int(np.ceil(height * scale))", columns="int(np.ceil(width * scale))"
        ),
        "fit: the larger half": _fit(
            left="(network_width - columns + 1) // 2", top="(network_height - rows + 1) // 2"
        ),
        "fit: borders as fractions": _fit(
            left="(network_width - width * scale) / 2", top="(network_height - height * scale) / 2"
        ),
        "fit: no row or column at least": _fit(
            rows="round(height * scale)", columns="round(width * scale)"
        ),
        "fit: scale of the rounded rows": _fit(result="rows / height, left, top"),
        "fit: one value": "return min(network_height / height, network_width / width)",
    },
)

WRONG["lab7_detection"] |= _table(
    "to_network",
    {"to_network_values": 1},
    {
        "to network: moved before scaled": "return (boxes + [left, top, left, top]) * scale",
        "to network: borders forgotten": "return boxes * scale",
        "to network: left and top swapped": "return boxes * scale + [top, left, top, left]",
        "to network: first corner only": "return boxes * scale + [left, top, 0, 0]",
        "to network: divided": "return boxes / scale + [left, top, left, top]",
        "to network: subtracted": "return boxes * scale - [left, top, left, top]",
        "to network: whole pixels": """
        return (boxes * scale + [left, top, left, top]).astype(int)""",
        "to network: a box too few": "return (boxes * scale + [left, top, left, top])[1:]",
    },
)

_back = _variants(
    """
    moved = (boxes - [left, top, left, top]) / scale
    return {result}""",
    result="moved.clip(0, [width, height, width, height])",
)
WRONG["lab7_detection"] |= _table(
    "to_picture",
    {"to_picture_values": 1},
    {
        "to picture: not clipped": _back(result="moved"),
        "to picture: clipped at 0 only": _back(result="moved.clip(0)"),
        "to picture: height and width swapped": _back(
            result="moved.clip(0, [height, width, height, width])"
        ),
        "to picture: clipped to the last pixel": _back(
            result="moved.clip(0, [width - 1, height - 1, width - 1, height - 1])"
        ),
        "to picture: boxes that reach beyond are dropped": _back(
            result="moved[(moved == moved.clip(0, [width, height, width, height])).all(axis=1)]"
        ),
        "to picture: boxes without an area are dropped": """
        moved = (boxes - [left, top, left, top]) / scale
        moved = moved.clip(0, [width, height, width, height])
        return moved[(moved[:, 2:] > moved[:, :2]).all(axis=1)]""",
        "to picture: clipped before moved": """
        boxes = boxes.clip(0, [width, height, width, height])
        return (boxes - [left, top, left, top]) / scale""",
        "to picture: scaled before moved": """
        return (boxes / scale - [left, top, left, top]).clip(0, [width, height, width, height])""",
        "to picture: multiplied": """
        moved = (boxes - [left, top, left, top]) * scale
        return moved.clip(0, [width, height, width, height])""",
        "to picture: borders forgotten": """
        return (boxes / scale).clip(0, [width, height, width, height])""",
        "to picture: left and top swapped": """
        moved = (boxes - [top, left, top, left]) / scale
        return moved.clip(0, [width, height, width, height])""",
    },
)

NMS_VALUES = {"nms_values": 1}
NMS_CLASSES = {"nms_classes": 1}
NMS_EDGES = {"nms_edges": 1}
_nms = _variants(
    """
    waiting = list({order})
    kept = []
    while {loop}:
        best = waiting.pop(0)
        kept.append(best)
        waiting = [i for i in waiting if not ({removed})]
    return {result}""",
    order="np.argsort(-scores, kind='stable')",
    loop="waiting",
    removed="overlaps[best, i] > limit and classes[i] == classes[best]",
    result="np.array(kept, dtype=int)",
)
WRONG["lab7_detection"] |= _table(
    "nms",
    NMS_VALUES | NMS_CLASSES | NMS_EDGES,
    {
        "nms: across classes": (_nms(removed="overlaps[best, i] > limit"), NMS_CLASSES),
        "nms: other classes only": _nms(
            removed="overlaps[best, i] > limit and classes[i] != classes[best]"
        ),
        "nms: each class on its own, one after the other": (
            """
            kept = []
            for c in np.unique(classes):
                waiting = [i for i in np.argsort(-scores, kind="stable") if classes[i] == c]
                while waiting:
                    kept.append(waiting.pop(0))
                    waiting = [i for i in waiting if overlaps[kept[-1], i] <= limit]
            return np.array(kept, dtype=int)""",
            NMS_CLASSES,
        ),
        "nms: ties in the reverse order": (_nms(order="np.argsort(scores)[::-1]"), NMS_EDGES),
        "nms: ties by a stable sort, reversed": (
            _nms(order="np.argsort(scores, kind='stable')[::-1]"),
            NMS_EDGES,
        ),
        "nms: the limit removes": (
            _nms(removed="overlaps[best, i] >= limit and classes[i] == classes[best]"),
            NMS_EDGES,
        ),
        "nms: no boxes raise": (
            "scores.max()\n" + _nms(),
            NMS_EDGES,
        ),
        "nms: worst first": _nms(order="np.argsort(scores, kind='stable')"),
        "nms: in the order of the list": _nms(order="range(len(scores))"),
        "nms: indices sorted": _nms(result="np.sort(kept).astype(int)"),
        "nms: a mask": _nms(result="np.isin(np.arange(len(scores)), kept)"),
        "nms: scores": _nms(result="scores[kept]"),
        "nms: positions in the sorted list": _nms(
            result="np.flatnonzero(np.isin(np.argsort(-scores, kind='stable'), kept))"
        ),
        "nms: removed boxes remove": """
        order = np.argsort(-scores, kind="stable")
        same = classes[:, None] == classes
        kept = [b for k, b in enumerate(order) if not (overlaps * same)[b, order[:k]].max("""
        """initial=0) > limit]
        return np.array(kept, dtype=int)""",
        "nms: one round": """
        order = np.argsort(-scores, kind="stable")
        gone = (overlaps[order[:1]] > limit).any(axis=0) & (classes == classes[order[:1]].sum())
        return np.array([i for i in order if i == order[0] or not gone[i]], dtype=int)""",
        "nms: everything": "return np.argsort(-scores, kind='stable')",
        "nms: 0.5 always": (
            _nms(removed="overlaps[best, i] > 0.5 and classes[i] == classes[best]"),
            NMS_VALUES | NMS_CLASSES | NMS_EDGES,
        ),
        "nms: floats": _nms(result="np.array(kept, dtype=float)"),
        "nms: indices beyond the end": _nms(result="np.array(kept, dtype=int) + len(scores)"),
        "nms: negative indices": _nms(result="np.array(kept, dtype=int) - len(scores)"),
        "nms: no numbers": "return ['best']",
    },
)

MATCH_VALUES = {"match_values": 1}
MATCH_ONCE = {"match_once": 1}
_match = _variants(
    """
    found = np.full(len(scores), -1)
    free = np.ones(overlaps.shape[1], dtype=bool)
    for i in {order}:
        candidates = np.flatnonzero({candidates})
        if len(candidates):
            best = candidates[{best}]
            {take}
    return {result}""",
    order="np.argsort(-scores, kind='stable')",
    candidates="free & (overlaps[i] >= limit)",
    best="overlaps[i, candidates].argmax()",
    take="found[i], free[best] = best, False",
    result="found",
)
WRONG["lab7_detection"] |= _table(
    "match",
    MATCH_VALUES | MATCH_ONCE,
    {
        "match: an object is found twice": (_match(take="found[i] = best"), MATCH_ONCE),
        "match: as in PASCAL VOC, the best object is taken": (
            """
            found = np.full(len(scores), -1)
            for i in np.argsort(-scores, kind="stable"):
                if overlaps.shape[1] and overlaps[i].max() >= limit:
                    best = overlaps[i].argmax()
                    found[i] = -1 if best in found else best
            return found""",
            MATCH_ONCE,
        ),
        "match: in the order of the list": (_match(order="range(len(scores))"), MATCH_ONCE),
        "match: worst first": (_match(order="np.argsort(scores, kind='stable')"), MATCH_ONCE),
        "match: ties in the reverse order": (
            _match(order="np.argsort(scores, kind='stable')[::-1]"),
            MATCH_ONCE,
        ),
        "match: objects choose": (
            """
            found = np.full(len(scores), -1)
            for j in range(overlaps.shape[1]):
                if len(scores) and overlaps[:, j].max() >= limit:
                    found[overlaps[:, j].argmax()] = j
            return found""",
            MATCH_VALUES | MATCH_ONCE,
        ),
        "match: the largest IoU of all first": (
            """
            found = np.full(len(scores), -1)
            left = overlaps.copy()
            while left.size and left.max() >= limit:
                i, j = np.unravel_index(left.argmax(), left.shape)
                found[i] = j
                left[i] = left[:, j] = 0
            return found""",
            MATCH_ONCE,
        ),
        "match: the best sum": (
            """
            from scipy.optimize import linear_sum_assignment
            found = np.full(len(scores), -1)
            rows, columns = linear_sum_assignment(overlaps, maximize=True)
            enough = overlaps[rows, columns] >= limit
            found[rows[enough]] = columns[enough]
            return found""",
            MATCH_ONCE,
        ),
        "match: the first object above the limit": _match(best="0"),
        "match: the smallest IoU": _match(best="overlaps[i, candidates].argmin()"),
        "match: the limit is too little": (
            _match(candidates="free & (overlaps[i] > limit)"),
            MATCH_VALUES,
        ),
        "match: no limit": _match(candidates="free & (overlaps[i] > 0)"),
        "match: 0.5 always": _match(candidates="free & (overlaps[i] >= 0.5)"),
        "match: in the order of scores": _match(result="found[np.argsort(-scores, kind='stable')]"),
        "match: whether, not which": _match(result="(found >= 0).astype(int)"),
        "match: bool": _match(result="found >= 0"),
        "match: no object raises": (
            "overlaps.max(axis=1)\n" + _match(),
            MATCH_VALUES,
        ),
        "match: floats": _match(result="found.astype(float)"),
        "match: pairs": _match(result="np.argwhere(found[:, None] >= 0)"),
        "match: detections of objects": """
        return np.array([overlaps[:, j].argmax() for j in range(overlaps.shape[1])], dtype=int)""",
    },
)

AP_VALUES = {"ap_values": 1}
AP_EDGES = {"ap_edges": 1}
_ap = _variants(
    """
    order = {order}
    right = np.cumsum(correct[order])
    precision = right / {seen}
    recall = right / {objects}
    best = [{best} for r in {recalls}]
    return {result}""",
    order="np.argsort(-scores, kind='stable')",
    seen="np.arange(1, len(right) + 1)",
    objects="objects",
    best="precision[recall >= r].max(initial=0)",
    recalls="np.linspace(0, 1, 101)",
    result="float(np.mean(best))",
)
WRONG["lab7_detection"] |= _table(
    "average_precision",
    AP_VALUES,
    {
        "ap: not the best precision from there on": (
            _ap(best="precision[recall >= r][0] if (recall >= r).any() else 0"),
            AP_VALUES | AP_EDGES,
        ),
        "ap: precision at the last detection": (
            _ap(best="precision[recall >= r][-1] if (recall >= r).any() else 0"),
            AP_VALUES | AP_EDGES,
        ),
        "ap: 11 recalls": _ap(recalls="np.linspace(0, 1, 11)"),
        "ap: without recall 0": _ap(recalls="np.linspace(0, 1, 101)[1:]"),
        "ap: 100 steps": _ap(recalls="np.linspace(0, 1, 100)"),
        "ap: recall of the detections": (_ap(objects="len(correct)"), AP_VALUES | AP_EDGES),
        "ap: recall of the found objects": _ap(objects="max(1, correct.sum())"),
        "ap: precision of the objects": (_ap(seen="objects"), AP_VALUES | AP_EDGES),
        "ap: counted from 0": (
            _ap(seen="np.maximum(1, np.arange(len(right)))"),
            AP_VALUES | AP_EDGES,
        ),
        "ap: only reached recalls": _ap(result="float(np.mean([b for b in best if b > 0] or [0]))"),
        "ap: area below all points": """
        order = np.argsort(-scores, kind="stable")
        right = np.cumsum(correct[order])
        precision = right / np.arange(1, len(right) + 1)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return float(np.sum(best * np.diff(right / objects, prepend=0)))""",
        "ap: mean precision of the correct ones": """
        order = np.argsort(-scores, kind="stable")
        right = np.cumsum(correct[order])
        precision = right / np.arange(1, len(right) + 1)
        return float(precision[correct[order]].sum() / objects)""",
        "ap: not sorted": _ap(order="np.arange(len(scores))"),
        "ap: worst first": _ap(order="np.argsort(scores, kind='stable')"),
        "ap: ties in the reverse order": (
            _ap(order="np.argsort(scores, kind='stable')[::-1]"),
            AP_EDGES,
        ),
        "ap: no detections raise": ("scores.max()\n" + _ap(), AP_EDGES),
        "ap: NaN without detections": (
            _ap(result="float(np.mean(best)) if len(scores) else np.nan"),
            AP_EDGES,
        ),
        "ap: 1 without detections": (
            _ap(result="float(np.mean(best)) if len(scores) else 1.0"),
            AP_EDGES,
        ),
        "ap: in percent": (_ap(result="100 * float(np.mean(best))"), AP_VALUES | AP_EDGES),
        "ap: a curve": (_ap(result="best"), AP_VALUES | AP_EDGES),
        "ap: from the library": (
            """
            from helpers import metrics
            return metrics.average_precision(correct, scores, objects)""",
            AP_VALUES | AP_EDGES,
        ),
    },
)

RIGHT["lab7_detection"] = {
    "iou: loops, nested lists": ("iou_matrix", IOU_BY_PAIR.format(before="")),
    "iou: torch, float32": (
        "iou_matrix",
        """
        import torch
        a, b = torch.as_tensor(a).float(), torch.as_tensor(b).float()
        sides = torch.minimum(a[:, None, 2:], b[:, 2:]) - torch.maximum(a[:, None, :2], b[:, :2])
        common = sides.clamp(min=0).prod(dim=2)
        areas = [(c[:, 2:] - c[:, :2]).prod(dim=1) for c in (a, b)]
        return common / (areas[0][:, None] + areas[1] - common).clamp(min=1e-12)""",
    ),
    "iou: column by column, warnings": (
        "iou_matrix",
        """
        columns = []
        for x1, y1, x2, y2 in b:
            width = np.maximum(np.minimum(a[:, 2], x2) - np.maximum(a[:, 0], x1), 0)
            height = np.maximum(np.minimum(a[:, 3], y2) - np.maximum(a[:, 1], y1), 0)
            both = width * height
            union = (a[:, 2] - a[:, 0]) * (a[:, 3] - a[:, 1]) + (x2 - x1) * (y2 - y1) - both
            columns.append(np.nan_to_num(both / union))
        return np.stack(columns, axis=1) if columns else np.zeros((len(a), 0))""",
    ),
    "iou: a local name of a library": (
        "iou_matrix",
        "box_iou = None  # helpers.metrics.box_iou compares\n" + _iou(),
    ),
    "fit: integers and a list": (
        "letterbox_fit",
        """
        if network_height * width <= network_width * height:
            scale = network_height / height
        else:
            scale = network_width / width
        columns, rows = (max(1, int(np.floor(scale * side + 0.5))) for side in (width, height))
        return [scale, int((network_width - columns) / 2), int((network_height - rows) / 2)]""",
    ),
    "fit: numpy": (
        "letterbox_fit",
        """
        size = np.array([width, height])
        network = np.array([network_width, network_height])
        scale = (network / size).min()
        return np.array([scale, *((network - np.maximum(1, np.rint(scale * size))) // 2)])""",
    ),
    "to network: loops": (
        "to_network",
        """
        return [[scale * x1 + left, scale * y1 + top, scale * x2 + left, scale * y2 + top]
                for x1, y1, x2, y2 in boxes]""",
    ),
    "to network: x and y apart": (
        "to_network",
        """
        boxes = scale * boxes
        boxes[:, ::2] += left
        boxes[:, 1::2] += top
        return boxes.astype(np.float32)""",
    ),
    "to picture: loops": (
        "to_picture",
        """
        result = []
        for box in boxes.tolist():
            x1, x2 = (min(max((x - left) / scale, 0), width) for x in box[::2])
            y1, y2 = (min(max((y - top) / scale, 0), height) for y in box[1::2])
            result.append((x1, y1, x2, y2))
        return result""",
    ),
    "to picture: torch": (
        "to_picture",
        """
        import torch
        boxes = (torch.tensor(boxes) - torch.tensor([left, top, left, top])) / scale
        return torch.stack(
            [boxes[:, 0].clamp(0, width), boxes[:, 1].clamp(0, height),
             boxes[:, 2].clamp(0, width), boxes[:, 3].clamp(0, height)], dim=1).float()""",
    ),
    "nms: a list": ("nms", _nms(result="kept")),
    "nms: plain Python": (
        "nms",
        """
        kept = []
        for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
            if all(classes[k] != classes[i] or overlaps[k][i] <= limit for k in kept):
                kept.append(i)
        return kept""",
    ),
    "nms: a mask of doubles": (
        "nms",
        """
        order = np.argsort(-scores, kind="stable")
        doubles = ((overlaps > limit) & (classes[:, None] == classes))[np.ix_(order, order)]
        is_kept = np.ones(len(order), dtype=bool)
        for row in range(len(order)):
            if is_kept[row]:
                is_kept[row + 1 :] &= ~doubles[row, row + 1 :]
        return order[is_kept].astype(np.uint16)""",
    ),
    "nms: lexsort, moved classes": (
        "nms",
        """
        order = np.lexsort((np.arange(len(scores)), -scores))
        overlaps = np.where(classes[:, None] == classes, overlaps, 0)
        kept = []
        while order.size:
            kept += [order[0]]
            order = order[1:][overlaps[order[0], order[1:]] <= limit]
        return np.array(kept, dtype=np.int32)""",
    ),
    "match: plain Python, a tuple": (
        "match",
        """
        found = [-1] * len(scores)
        free = set(range(overlaps.shape[1]))
        for i in sorted(range(len(scores)), key=lambda i: -scores[i]):
            best = max(free, key=lambda j: overlaps[i, j], default=None)
            if best is not None and overlaps[i, best] >= limit:
                found[i] = best
                free.remove(best)
        return tuple(found)""",
    ),
    "match: columns set to -1": (
        "match",
        """
        found = np.full(len(scores), -1, dtype=np.int8)
        overlaps = overlaps.copy()
        for i in np.argsort(-scores, kind="stable"):
            if overlaps.shape[1] == 0:
                break
            best = overlaps[i].argmax()
            if overlaps[i, best] >= limit:
                found[i] = best
                overlaps[:, best] = -1
        return found""",
    ),
    "ap: accumulated and looked up": (
        "average_precision",
        """
        order = np.lexsort((np.arange(len(scores)), -scores))
        right = np.cumsum(correct[order])
        precision = np.append(right / np.arange(1, len(right) + 1), 0)
        best = np.maximum.accumulate(precision[::-1])[::-1]
        return best[np.searchsorted(right / objects, np.linspace(0, 1, 101))].mean()""",
    ),
    "ap: plain Python": (
        "average_precision",
        """
        ranked = sorted(zip(scores, correct), key=lambda pair: -pair[0])
        points, right = [], 0
        for count, (_, is_right) in enumerate(ranked, 1):
            right += bool(is_right)
            points.append((right / objects, right / count))
        best = [max((p for recall, p in points if recall >= i / 100), default=0)
                for i in range(101)]
        return sum(best) / 101""",
    ),
    "ap: torch, float32": (
        "average_precision",
        """
        import torch
        if len(scores) == 0:
            return torch.tensor(0.0)
        order = torch.argsort(torch.as_tensor(scores), descending=True, stable=True)
        right = torch.as_tensor(correct)[order].cumsum(0)
        precision = right / torch.arange(1, len(right) + 1)
        best = precision.flip(0).cummax(0).values.flip(0)
        reached = [best[right / objects >= i / 100] for i in range(101)]
        return torch.stack([b[0] if len(b) else torch.tensor(0.0) for b in reached]).mean()""",
    ),
    "own detector: rounded down": (
        "own_detector",
        """
        counts = np.bincount(object_classes)
        per_class = [average_precision(correct[classes == c], scores[classes == c], counts[c])
                     for c in (0, 1, 2)]
        my_ap50 = round(sum(per_class) / 3, 4)
        for my_threshold in np.arange(0.999, 0, -0.0001):
            my_recall = correct[scores >= my_threshold].sum() / len(object_classes)
            if my_recall >= 0.8:
                break
        my_precision = correct[scores >= my_threshold].mean()""",
    ),
}


def _result(**changes):
    """A damage for my_detector.json: values, or None to drop an entry."""

    def damage(path: Path) -> None:
        stored = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in stored.items() if v is not None}))

    return damage


_OWN_AP = {"own_ap": 1}
_OWN_THRESHOLD = {"own_threshold": 1}
DAMAGED["lab7_detection"] = {
    "result: another AP": ("my_detector.json", _result(ap50=0.5), _OWN_AP),
    "result: AP in percent": ("my_detector.json", _result(ap50=79.0), _OWN_AP),
    "result: no AP": ("my_detector.json", _result(ap50=None), _OWN_AP),
    "result: AP as a text": ("my_detector.json", _result(ap50="0.79"), _OWN_AP),
    "result: AP is NaN": ("my_detector.json", _result(ap50=float("nan")), _OWN_AP),
    "result: the usual threshold": ("my_detector.json", _result(threshold=0.5), _OWN_THRESHOLD),
    "result: everything is reported": (
        "my_detector.json",
        _result(threshold=0.01),
        _OWN_THRESHOLD,
    ),
    "result: recall as asked for": ("my_detector.json", _result(recall=0.8), _OWN_THRESHOLD),
    "result: precision of everything": (
        "my_detector.json",
        _result(precision=0.59),
        _OWN_THRESHOLD,
    ),
    "result: a list as the threshold": (
        "my_detector.json",
        _result(threshold=[0.4, 0.5]),
        _OWN_THRESHOLD,
    ),
    "result: no JSON": (
        "my_detector.json",
        lambda path: path.write_text("ap50 = 0.79"),
        _OWN_AP | _OWN_THRESHOLD,
    ),
    "result: a list": (
        "my_detector.json",
        lambda path: path.write_text("[0.79]"),
        _OWN_AP | _OWN_THRESHOLD,
    ),
    "result: not submitted": (
        "my_detector.json",
        lambda path: path.unlink(),
        _OWN_AP | _OWN_THRESHOLD,
    ),
}
