"""Hidden checks of lab 2. Never part of a release, a handout or feedback."""

import numpy as np

from labs.grading.checks import expect
from labs.grading.checks.questions import Question, Student


def _weights(seed: int, shape: tuple) -> np.ndarray:
    """Weights with a dense middle, off centre, and thin even tails without gaps."""
    generator = np.random.default_rng(seed)
    dense = generator.standard_normal(shape) * 0.03
    tails = generator.uniform(-0.3, 0.6, shape)
    return np.where(generator.random(shape) < 0.15, tails, dense).astype(np.float32)


def _nearest(weights: np.ndarray, codebook: np.ndarray) -> np.ndarray:
    return np.abs(weights.astype(np.float64)[..., None] - codebook).argmin(axis=-1)


def _error(weights: np.ndarray, codebook: np.ndarray) -> float:
    return float(np.square(weights - codebook[_nearest(weights, codebook)], dtype=np.float64).sum())


def _lloyd(weights: np.ndarray, k: int, rounds: int = 300) -> np.ndarray:
    flat = weights.ravel().astype(np.float64)
    codebook = np.linspace(flat.min(), flat.max(), k)
    for _ in range(rounds):
        nearest = _nearest(flat, codebook)
        for j in range(k):
            own = flat[nearest == j]
            if own.size:
                codebook[j] = own.mean()
    return codebook


def _own_weights(seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    spread = generator.gamma(2.0, 0.02, (64, 1))
    return (generator.standard_normal((64, 128)) * spread).astype(np.float32)


def _check_codebook(weights: np.ndarray, codebook: np.ndarray, what: str) -> None:
    """Nearly as good as Lloyd's algorithm from an even start, and each value its weights' mean."""
    reference = _error(weights, _lloyd(weights, len(codebook)))
    assert _error(weights, codebook) <= 1.05 * reference, (
        f"{what}: a smaller sum of squares is within reach"
    )
    flat = weights.ravel().astype(np.float64)
    nearest = _nearest(weights.ravel(), codebook)
    used = np.unique(nearest)
    off = [abs(flat[nearest == j].mean() - codebook[j]) for j in used]
    assert max(off) <= 0.02 * flat.std(), (
        f"{what}: some value is not the mean of the weights that are nearest to it"
    )


def cluster_values(student: Student) -> None:
    for seed, shape, k in ((1, (3000,), 8), (2, (40, 60), 4), (3, (6, 4, 5, 5), 2)):
        weights = _weights(seed, shape)
        codebook = expect.array(student.call("cluster", weights, k), (k,), "cluster")
        _check_codebook(weights, codebook, "cluster")


def cluster_empty(student: Student) -> None:
    what = "cluster, with values that no weight is nearest to"
    # an even start leaves values in the gaps
    gap = np.float32([-9, -8, -8, -7, 0, 1, 1, 2, 5, 6, 7, 30, 31, 31])
    constant = np.full((3, 5), 0.25, np.float32)
    for weights, k in ((gap, 7), (constant, 3)):
        codebook = expect.array(student.call("cluster", weights, k), (k,), what)
        assert _error(weights, codebook) <= 1.05 * _error(weights, _lloyd(weights, k)) + 1e-9, (
            "cluster: wrong codebook when a cluster is empty"
        )


def _check_assign(student: Student, weights: np.ndarray, codebook: np.ndarray, what: str) -> None:
    found = student.call("assign", weights, codebook)
    found = expect.array(found, weights.shape, what, integers=True).astype(np.int64)
    assert ((found >= 0) & (found < len(codebook))).all(), (
        f"{what}: an index is below 0 or above k - 1"
    )
    distance = np.abs(weights.astype(np.float64) - codebook[found])
    least = np.abs(weights.astype(np.float64) - codebook[_nearest(weights, codebook)])
    tie = 1e-6 * np.abs(codebook).max()  # float32 or float64, and either of two equally near values
    wrong = int(np.count_nonzero(distance > least + tie))
    assert not wrong, f"{what}: for {wrong:,} of {weights.size:,} weights another value is nearer"


def assign_nearest(student: Student) -> None:
    for seed, shape, k in ((4, (500,), 5), (5, (30, 20), 16), (6, (4, 3, 5, 5), 2)):
        weights = _weights(seed, shape)
        chosen = np.random.default_rng(seed).choice(weights.ravel(), k, replace=False)
        codebook = np.sort(chosen).astype(np.float64)
        _check_assign(student, weights, codebook, "assign")


def assign_any_codebook(student: Student) -> None:
    weights = _weights(7, (20, 30))
    codebook = np.random.default_rng(7).permutation(np.linspace(weights.min(), weights.max(), 700))
    _check_assign(student, weights, codebook[:9], "assign, with a codebook that is not sorted")
    _check_assign(student, weights, codebook, "assign, with a long codebook that is not sorted")
    _check_assign(student, weights, np.sort(codebook), "assign, with a long codebook")


def reconstruct_values(student: Student) -> None:
    generator = np.random.default_rng(8)
    for shape, k in (((7, 9), 5), ((50,), 300), ((4, 3, 3, 3), 16), ((5, 5), 1)):
        codebook = generator.standard_normal(k)
        indices = generator.integers(0, k, shape)
        found = expect.array(student.call("reconstruct", indices, codebook), shape, "reconstruct")
        expect.close(found, codebook[indices], "reconstruct", relative=1e-6)


def storage_count(student: Student) -> None:
    for count, k, value_bits in (
        (1000, 16, 32),
        (1000, 17, 32),
        (999, 15, 32),
        (12, 2, 32),
        (500, 1, 32),
        (4096, 256, 16),
        (4096, 257, 16),
        (77, 3, 8),
    ):
        expected = count * (k - 1).bit_length() + k * value_bits
        found = student.call("storage_bits", count, k, value_bits=value_bits)
        assert expect.whole(found, "storage_bits") == expected, (
            f"storage_bits: wrong where k is {_kind(k)}"
        )
    found = student.call("storage_bits", 10, 4)
    assert expect.whole(found, "storage_bits") == 148, "storage_bits: value_bits is 32 unless said"


def _kind(k: int) -> str:
    if k == 1:
        return "one value"
    if k & (k - 1) == 0:
        return "a power of two"
    return "no power of two"


def fine_tune_values(student: Student) -> None:
    what = "fine_tune_step"
    generator = np.random.default_rng(9)
    for shape, k, used, rate in (
        ((6, 8), 4, 4, 0.1),
        ((100,), 9, 6, 0.01),
        ((4, 2, 3, 3), 3, 2, 1.5),
    ):
        codebook = generator.standard_normal(k)
        indices = generator.integers(0, used, shape)
        gradients = generator.standard_normal(shape) + 0.5
        expected = codebook - rate * np.bincount(indices.ravel(), gradients.ravel(), minlength=k)
        found = expect.array(student.call(what, codebook, indices, gradients, rate), (k,), what)
        expect.close(found, expected, what, relative=1e-5)


def own_layer_file(student: Student) -> None:
    stored = expect.arrays_of(student.file("my_layer.npz"), "codebook", "indices")
    weights = _own_weights(student.seed)
    codebook = expect.array(stored["codebook"], (16,), "codebook in my_layer.npz")
    codebook = codebook.astype(np.float64)
    what = "indices in my_layer.npz"
    indices = expect.array(stored["indices"], weights.shape, what, integers=True).astype(np.int64)
    assert ((indices >= 0) & (indices < 16)).all(), "my_layer.npz: an index is below 0 or above 15"
    assert _error(weights, codebook) <= 1.05 * _error(weights, _lloyd(weights, 16)), (
        "my_layer.npz: on your weights a smaller sum of squares is within reach. Are they yours?"
    )
    error = np.square(weights - codebook[indices], dtype=np.float64).sum()
    assert error <= 1.0001 * _error(weights, codebook), (
        "my_layer.npz: some index is not that of the nearest value"
    )


QUESTIONS = {
    "cluster_values": Question(3, cluster_values, needs="function cluster"),
    "cluster_empty": Question(1, cluster_empty, needs="function cluster"),
    "assign_nearest": Question(2, assign_nearest, needs="function assign"),
    "assign_any_codebook": Question(1, assign_any_codebook, needs="function assign"),
    "reconstruct_values": Question(1, reconstruct_values, needs="function reconstruct"),
    "storage_count": Question(2, storage_count, needs="function storage_bits"),
    "fine_tune_values": Question(2, fine_tune_values, needs="function fine_tune_step"),
    "own_layer_file": Question(2, own_layer_file, needs="file my_layer.npz"),
}
