"""Notebook 04: the optimum is one, files give back what went in, and the network survives."""

import json
import re
from itertools import combinations, product

import numpy as np
import pytest
from claims import check
from notebook_code import code_cells, definitions
from scipy.stats import binomtest
from sklearn.cluster import KMeans

from helpers.data import Images, mnist
from helpers.paths import ROOT
from helpers.training import predict

book = definitions("04_kmeans_quantization")


@pytest.fixture(scope="module")
def lenet(quick_networks):
    return quick_networks["lenet"]


@pytest.fixture(scope="module")
def layers(lenet):
    return book.layer_weights(lenet)


def heavy_tailed(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, n).astype(np.float32)


def quantized(layers: dict, bits: int, per_channel: bool) -> dict:
    """Every layer on one codebook, or on one for each output channel."""
    return {
        name: book.quantize(weights, bits, len(weights) if per_channel else 1)
        for name, weights in layers.items()
    }


def brute_force(weights: np.ndarray, k: int) -> float:
    """Least inertia over every way to put k - 1 cuts into the sorted weights."""
    ordered = np.sort(weights).astype(np.float64)
    return min(
        sum(((part - part.mean()) ** 2).sum() for part in np.split(ordered, cuts))
        for cuts in combinations(range(1, len(ordered)), k - 1)
    )


def exact(weights: np.ndarray, k: int) -> float:
    points = book.sort_once(weights)
    return book.optimal_cuts(points, np.arange(len(points.S)), k, book.bracketed)[1][-1]


@pytest.mark.parametrize("next_row", [book.try_all, book.bracketed])
@pytest.mark.parametrize("seed", range(6))
def test_dynamic_programming_is_as_good_as_trying_everything(next_row, seed):
    generator = np.random.default_rng(seed)
    weights = generator.integers(-9, 9, 11 + seed % 3).astype(np.float64)  # some are equal
    points = book.sort_once(weights)
    for k in (1, 2, 3, 5):
        cuts, least = book.optimal_cuts(points, np.arange(len(weights) + 1), k, next_row)
        assert len(cuts) == k + 1 and len(least) == k
        assert least[-1] == pytest.approx(brute_force(weights, k), abs=1e-9)
        parts = np.split(np.sort(weights), cuts[1:-1])
        of_parts = sum(((part - part.mean()) ** 2).sum() for part in parts if len(part))
        assert of_parts == pytest.approx(least[-1], abs=1e-9)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 64, 65, 1000])
def test_bracketed_gives_the_row_of_try_all(n):
    points = book.sort_once(heavy_tailed(n, seed=n))
    C = book.interval_inertia(points, np.arange(n + 1))
    D = C(0, np.arange(n + 1))
    for _ in range(4):
        row, cut = book.bracketed(D, C)
        expected, _ = book.try_all(D, C)
        np.testing.assert_allclose(row, expected, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(D[cut] + C(cut, np.arange(n + 1)), row, rtol=1e-12, atol=1e-12)
        D = row


@pytest.mark.parametrize("k", [2, 4, 16])
def test_optimal_codebook_is_as_good_as_the_exact_optimum(layers, k):
    excess = []
    for weights in [*layers.values(), heavy_tailed(20_000)]:
        found = book.inertia(weights.ravel(), book.optimal_codebook(weights, k))
        excess.append(found / exact(weights, k) - 1)
    assert min(excess) >= -1e-6
    check(f"04: inertia above the exact optimum, k = {k}", max(excess))


@pytest.mark.parametrize("k", [4, 16, 128])
def test_no_other_method_beats_the_optimum(layers, k):
    weights = layers["fc2"].ravel()
    best = book.inertia(weights, book.optimal_codebook(weights, k))
    starts = [book.linear_start(weights, k), np.quantile(weights, (np.arange(k) + 0.5) / k)]
    others = [book.sorted_lloyd(book.sort_once(weights), start)[0] for start in starts]
    for seed in range(3):
        fitted = KMeans(k, n_init=1, random_state=seed).fit(weights[:, None])
        others.append(np.sort(fitted.cluster_centers_.ravel()))
    assert best <= min(book.inertia(weights, centroids) for centroids in others) * (1 + 1e-6)


def test_an_extreme_outlier_does_not_cost_the_others_their_centroids():
    weights = np.append(heavy_tailed(50_000) / 1000, np.float32(1e4))
    found = book.inertia(weights, book.optimal_codebook(weights, 16))
    alone = book.inertia(weights[:-1], book.optimal_codebook(weights[:-1], 15))
    assert found == pytest.approx(alone, rel=0.01)


def test_mostly_zeros_as_in_a_pruned_layer():
    weights = heavy_tailed(10_000)
    weights[np.abs(weights) < np.quantile(np.abs(weights), 0.9)] = 0
    codebook = book.optimal_codebook(weights, 16)
    assert 0 in codebook
    assert book.inertia(weights, codebook) <= exact(weights, 16) * (1 + 1e-4)


def test_lloyd_from_a_linear_start_is_stuck_on_the_twelve_numbers():
    start = book.linear_start(book.TWELVE, 4)
    slow, _ = book.lloyd(book.TWELVE, start)
    fast, _ = book.sorted_lloyd(book.sort_once(book.TWELVE), start)
    for centroids in (slow, fast):
        np.testing.assert_allclose(centroids, [-8, 22 / 7, 17, 30])
    np.testing.assert_array_equal(book.optimal_codebook(book.TWELVE, 4), [-8, 1, 6, 30])


def test_a_layer_with_the_codebook_of_the_linear_start():
    tensor = book.from_linear_start(book.TWELVE.reshape(3, 4), bits=2)
    np.testing.assert_allclose(tensor.codebooks, [[-8, 22 / 7, 17, 30]])
    assert tensor.indices.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 3]]
    np.testing.assert_allclose(tensor.weights()[0], -8)


@pytest.mark.parametrize("bits", [3, 1])
def test_comparing_the_two_codebooks_of_a_network(lenet, bits):
    row = book.compare_codebooks(lenet, bits, mnist("test"))
    assert row["inertia"] >= 1 - 1e-5
    difference = (row["gained"] - row["lost"]) / len(mnist("test").labels)
    assert row["best"] - row["linear start"] == pytest.approx(difference)


def test_the_stored_comparison_is_complete_and_consistent():
    path = ROOT / "notebooks" / "figures" / "04_kmeans_quantization.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert set(stored["made"]) == {"date", "machine", "torch", "data"}
    rows = stored["rows"]
    assert {(row["seed"], row["bits"]) for row in rows} == set(product(range(5), (8, 4, 3, 2, 1)))
    for row in rows:
        changed = row["lost"] + row["gained"]
        expected = binomtest(row["lost"], changed).pvalue if changed else 1.0
        assert row["p"] == pytest.approx(expected)
        assert row["inertia"] >= 1 - 1e-5


@pytest.mark.parametrize("k", [4, 16])
def test_lloyd_sorted_lloyd_and_scikit_learn_agree(layers, k):
    weights = layers["fc1"].ravel().astype(np.float64)
    # no cluster is empty, which scikit-learn would move
    start = np.quantile(weights, (np.arange(k) + 0.5) / k)
    ours, rounds = book.lloyd(weights, start)
    fast, fast_rounds = book.sorted_lloyd(book.sort_once(weights), start)
    theirs = KMeans(k, init=start[:, None], n_init=1, tol=0, max_iter=10_000).fit(weights[:, None])
    np.testing.assert_allclose(fast, ours, atol=1e-9)
    np.testing.assert_allclose(theirs.cluster_centers_.ravel(), ours, atol=1e-6)
    assert rounds == fast_rounds
    assert book.inertia(weights, fast) == pytest.approx(theirs.inertia_, rel=1e-6)


def test_sorted_lloyd_never_goes_uphill(layers):
    weights = layers["conv2"].ravel()
    points = book.sort_once(layers["conv2"])
    centroids = book.linear_start(weights, 64)
    for _ in range(20):
        before = book.inertia(weights, centroids)
        centroids, _ = book.sorted_lloyd(points, centroids, rounds=1)
        assert book.inertia(weights, centroids) <= before * (1 + 1e-12)


@pytest.mark.parametrize("value", [0.0, 0.25, -3.5])
def test_one_value_needs_no_index_bits(value, tmp_path):
    tensor = book.quantize(np.full((3, 4), value), bits=4)
    assert tensor.index_bits == 0 and tensor.codebooks.tolist() == [[value]]
    assert (tensor.weights() == np.float32(value)).all() and tensor.weights().shape == (3, 4)
    book.write_and_check(tmp_path / "one.cbk", {"fc": tensor})


def test_a_single_weight():
    assert book.quantize([0.5], bits=1).weights().tolist() == [0.5]


@pytest.mark.parametrize("bits", range(2, 9))
def test_more_clusters_than_different_values_is_lossless(bits):
    weights = np.float32([[0.5, -1, 0.5], [2, -1, 0.5]])
    tensor = book.quantize(weights, bits)
    assert tensor.codebooks.tolist() == [[-1, 0.5, 2]]
    np.testing.assert_array_equal(tensor.weights(), weights)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="NaN or infinity"):
        book.quantize([[1.0, 2.0], [bad, 3.0]], bits=2)


def test_nothing_is_refused():
    with pytest.raises(ValueError, match="empty"):
        book.quantize(np.zeros((0, 5)), bits=2)


@pytest.mark.parametrize("bits", [0, -1, 9, 2.5])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match="from 1 to 8"):
        book.quantize([1.0, 2.0, 3.0], bits)


@pytest.mark.parametrize("bits", range(1, 9))
def test_each_weight_gets_its_nearest_value(layers, bits):
    weights = layers["conv2"]
    tensor = book.quantize(weights, bits)
    assert tensor.codebooks.shape == (1, 2**bits) and (np.diff(tensor.codebooks) > 0).all()
    nearest = np.abs(weights.ravel()[:, None] - tensor.codebooks[0]).min(axis=1)
    np.testing.assert_allclose(np.abs(tensor.weights() - weights).ravel(), nearest, atol=1e-7)


def test_scale_and_offset_go_through(layers):
    weights = layers["fc3"]
    plain = book.quantize(weights, 3).weights()
    scaled = book.quantize(weights * 1e-20, 3).weights() * 1e20
    shifted = book.quantize(weights + 8, 3).weights() - 8
    np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(shifted, plain, atol=2e-3)


def test_groups_are_quantized_each_for_itself(layers):
    weights = layers["conv2"]
    together = book.quantize(weights, 2, groups=len(weights))
    assert together.codebooks.shape == (16, 4)
    for row, channel in zip(together.weights(), weights):
        np.testing.assert_array_equal(row, book.quantize(channel, 2).weights())


def test_groups_with_unequally_many_values():
    weights = np.float32([[1, 1, 1, 1], [1, 2, 3, 4]])
    tensor = book.quantize(weights, 2, groups=2)
    assert tensor.codebooks.tolist() == [[1, 1, 1, 1], [1, 2, 3, 4]]
    np.testing.assert_array_equal(tensor.weights(), weights)


@pytest.mark.parametrize("bits", range(9))
def test_pack_and_unpack(bits):
    numbers = np.random.default_rng(bits).integers(0, 2**bits, 37).astype(np.uint8)
    packed = book.pack(numbers, bits)
    assert len(packed) == -(-37 * bits // 8)
    np.testing.assert_array_equal(book.unpack(packed, bits, 37), numbers)


def optimal_length(counts: list[int]) -> int:
    """Least total length of a prefix code: over all lengths that satisfy Kraft's inequality."""
    used = [count for count in counts if count]
    return min(
        sum(count * length for count, length in zip(used, lengths))
        for lengths in product(range(1, len(used) + 1), repeat=len(used))
        if sum(2.0**-n for n in lengths) <= 1
    )


@pytest.mark.parametrize(
    "counts", [[5, 9, 12, 13, 16, 45], [1, 1, 1, 1, 1], [1, 2, 4, 8, 16], [7, 0, 3, 0, 1], [3, 3]]
)
def test_huffman_is_optimal_and_no_code_begins_another(counts):
    lengths = book.code_lengths(np.array(counts))
    assert int(np.array(counts) @ lengths.astype(int)) == optimal_length(counts)
    codes = book.canonical_codes(lengths)
    assert set(codes) == {symbol for symbol, count in enumerate(counts) if count}
    assert all(len(codes[symbol]) == lengths[symbol] for symbol in codes)
    assert not any(b.startswith(a) for a in codes.values() for b in codes.values() if a != b)
    assert len(set(codes.values())) == len(codes)


@pytest.mark.parametrize("symbols", [1, 2, 3, 17, 256])
def test_huffman_there_and_back(symbols):
    numbers = (np.random.default_rng(symbols).geometric(0.3, 2000) % symbols).astype(np.uint8)
    codes = book.canonical_codes(book.code_lengths(np.bincount(numbers, minlength=symbols)))
    encoded = book.huffman_encode(numbers, codes)
    assert len(encoded) == -(-sum(len(codes[number]) for number in numbers.tolist()) // 8)
    np.testing.assert_array_equal(book.huffman_decode(encoded, codes, 2000), numbers)
    with pytest.raises(ValueError, match="end after"):
        book.huffman_decode(encoded[:-1], codes, 2000)


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("per_channel", [False, True])
def test_file_is_as_long_as_announced_and_gives_every_bit_back(layers, tmp_path, bits, per_channel):
    small = {name: weights for name, weights in layers.items() if weights.size < 5000}
    coded = quantized(small, bits, per_channel)
    path = tmp_path / "lenet.cbk"
    book.write_file(path, coded)
    assert path.stat().st_size == book.file_bytes(coded)
    for name, tensor in book.read_file(path).items():
        assert tensor.shape == small[name].shape
        assert tensor.weights().dtype == np.float32
        assert tensor.weights().tobytes() == coded[name].weights().tobytes()


def test_both_codings_are_used_and_never_the_longer_one(layers):
    codings = set()
    for name, bits in product(layers, (1, 4)):
        tensor = book.quantize(layers[name], bits)
        coding, coded = book.encode_indices(tensor)
        account = book.account(name, tensor)
        assert len(coded) == min(account["fixed width"], account["Huffman"])
        assert account["entropy bound"] <= len(coded) + 1e-6
        codings.add(coding)
    assert codings == {book.FIXED, book.HUFFMAN}


def test_a_network_runs_from_its_file_like_the_reconstruction(lenet, layers, tmp_path):
    coded = {name: book.quantize(weights, 3) for name, weights in layers.items()}
    read = book.write_and_check(tmp_path / "lenet.cbk", coded)
    images = mnist("test").images[:200]
    from_file = book.predict(book.with_weights(lenet, read), images)
    rebuilt = book.predict(book.with_weights(lenet, coded), images)
    np.testing.assert_array_equal(from_file, rebuilt)
    assert not np.array_equal(from_file, book.predict(lenet, images))


def test_a_damaged_file_never_becomes_weights(tmp_path):
    path = tmp_path / "tiny.cbk"
    part = tmp_path / "part.cbk"
    coded = {"a": book.quantize(heavy_tailed(300), 2), "b": book.quantize(np.float32([[1, 2]]), 1)}
    book.write_file(path, coded)
    content = path.read_bytes()
    for length in range(len(content)):
        part.write_bytes(content[:length])
        with pytest.raises(ValueError, match="part.cbk"):
            book.read_file(part)
    for other in (content + b"x", b"PK\x03\x04" + content[4:]):
        part.write_bytes(other)
        with pytest.raises(ValueError, match="part.cbk"):
            book.read_file(part)


def few_images() -> Images:
    train_set = mnist("train")
    return Images(train_set.images[:4000], train_set.labels[:4000], train_set.source)


def loss_of(network, coded) -> float:
    """Mean cross-entropy on the test images."""
    test = mnist("test")
    logits = book.torch.from_numpy(predict(book.with_weights(network, coded), test.images))
    return book.torch.nn.functional.cross_entropy(logits, book.torch.from_numpy(test.labels)).item()


@pytest.mark.parametrize("per_channel", [False, True])
def test_training_two_values_helps_and_keeps_the_indices(lenet, layers, per_channel):
    coded = quantized(layers, 1, per_channel)
    tuned = book.fine_tune(lenet, coded, few_images(), epochs=2)
    kept = loss_of(lenet, tuned) / loss_of(lenet, coded)
    unit = "channel" if per_channel else "layer"
    check(f"04: test loss that training two values leaves, per {unit}", kept)
    for name, tensor in tuned.items():
        np.testing.assert_array_equal(tensor.indices, coded[name].indices)
        assert tensor.codebooks.shape == coded[name].codebooks.shape


def test_the_gradient_of_a_value_is_the_sum_over_its_weights(lenet, layers):
    coded = {"fc2": book.quantize(layers["fc2"], 2, groups=4)}
    plain = book.with_weights(lenet, coded)
    shared = book.with_shared_values(lenet, coded)
    inputs = book.torch.from_numpy(book.normalize(mnist("train").images[:32]))
    values = shared.fc2.parametrizations.weight[0].codebooks
    (of_values,) = book.torch.autograd.grad(shared(inputs).square().sum(), values)
    (of_weights,) = book.torch.autograd.grad(plain(inputs).square().sum(), plain.fc2.weight)
    groups = zip(coded["fc2"].indices, of_weights.numpy().reshape(4, -1))
    summed = [np.bincount(index, gradients) for index, gradients in groups]
    atol = 1e-4 * np.abs(summed).max()
    np.testing.assert_allclose(of_values.numpy(), summed, rtol=1e-3, atol=atol)
    trained = [name for name, parameter in shared.named_parameters() if parameter.requires_grad]
    assert trained == ["fc2.parametrizations.weight.0.codebooks"]


def committed_table(heading: str) -> dict[int, dict[str, float]]:
    """A table of the notebook as committed: {bits: {column: accuracy in per cent}}.

    Its networks are trained in full.
    """
    for page in re.findall("<table.*?</table>", committed_output("text/html"), re.S):
        head, *rows = [table_entries(row) for row in re.findall("<tr>.*?</tr>", page, re.S)]
        if head[0] == heading and "values trained" in head:
            return {int(row[0]): accuracies(head, row) for row in rows}
    raise AssertionError(f"the notebook has no table of accuracies by {heading!r}")


def table_entries(row: str) -> list[str]:
    """The texts of a table's row in HTML, tags removed."""
    entries = re.findall("<t[hd].*?</t[hd]>", row, re.S)
    return [re.sub("<.*?>", "", entry).strip() for entry in entries]


def accuracies(head: list[str], row: list[str]) -> dict[str, float]:
    """The entries with an interval in brackets: {column: accuracy in per cent}."""
    return {name: float(entry.split()[0]) for name, entry in zip(head, row) if "(" in entry}


def committed_output(kind: str) -> str:
    outputs = [output for cell in code_cells("04_kmeans_quantization") for output in cell.outputs]
    return "\n".join(output.get("data", {}).get(kind, output.get("text", "")) for output in outputs)


def test_what_the_committed_notebook_shows():
    layer = committed_table("bits")
    channel = committed_table("bits per channel")
    line = re.search(r"^float: ([\d.]+) \(", committed_output("text/plain"), re.M)
    floating = float(line.group(1))
    assert floating - layer[4]["as clustered"] <= 0.5
    assert floating - layer[2]["as clustered"] <= 3
    assert floating - layer[1]["as clustered"] >= 10
    assert layer[2]["values trained"] >= layer[2]["as clustered"] - 0.5
    assert layer[1]["values trained"] > layer[1]["as clustered"] + 3
    assert channel[1]["values trained"] >= channel[1]["as clustered"] + 10
