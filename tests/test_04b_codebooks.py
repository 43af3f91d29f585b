"""Notebook 04b: the optimum is one, Huffman codes are optimal, files give back every bit."""

from itertools import combinations, count, product
from types import SimpleNamespace

import executed_notebooks
import numpy as np
import pytest
from claims import check
from notebook_code import definitions, sources
from scipy.stats import binomtest
from sklearn.cluster import KMeans

from helpers import long_runs
from helpers.codebooks import layer_weights, with_weights
from helpers.data import mnist
from helpers.paths import ROOT
from helpers.training import predict

NAME = "04b_codebooks_to_the_last_byte"
STORED = ROOT / "notebooks" / "figures" / f"{NAME}.json"
book = definitions(NAME)


@pytest.fixture(scope="module")
def lenet(quick_networks):
    return quick_networks["lenet"]


@pytest.fixture(scope="module")
def layers(lenet):
    return layer_weights(lenet)


@pytest.fixture(scope="module")
def page(quick_networks):
    return executed_notebooks.run(NAME, race_weights=20_000, timed_rounds=1)


def heavy_tailed(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, n).astype(np.float32)


def quantized(layers: dict, bits: int, per_channel: bool) -> dict:
    """Every layer on one codebook, or on one for each output channel."""
    return {
        name: book.quantize_best(weights, bits, len(weights) if per_channel else 1)
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


@pytest.mark.parametrize("k", [4, 16])
def test_sorted_lloyd_is_lloyd(layers, k):
    for weights in (layers["fc1"].ravel().astype(np.float64), heavy_tailed(1000)):
        start = book.linear_start(weights, k)
        slow, rounds = book.lloyd(weights, start)
        fast, fast_rounds = book.sorted_lloyd(book.sort_once(weights), start)
        np.testing.assert_allclose(fast, slow, atol=1e-6)
        assert rounds == fast_rounds


def test_sums_of_sorted_weights():
    points = book.sort_once(np.array([[3, 1], [2, 4]]))
    assert points.values.tolist() == [1, 2, 3, 4]
    assert points.S.tolist() == [0, 1, 3, 6, 10] and points.Q.tolist() == [0, 1, 5, 14, 30]
    C = book.interval_inertia(points, np.arange(5))
    assert C(0, 4) == 5 and C(1, 3) == 0.5 and C(2, 2) == 0


def test_the_twelve_numbers_have_four_groups():
    found = book.optimal_codebook(book.TWELVE, 4)
    np.testing.assert_array_equal(found, [-8, 1, 6, 30])


def test_candidate_edges_are_few_and_hold_both_ends():
    points = book.sort_once(heavy_tailed(50_000))
    edges = book.candidate_edges(points, bins=1024)
    assert edges[0] == 0 and edges[-1] == 50_000 and (np.diff(edges) > 0).all()
    assert 500 < len(edges) <= 1027
    assert len(book.candidate_edges(points, bins=60_000)) == len(np.unique(points.values)) + 1


@pytest.mark.parametrize("bits", [0, -1, 9, 2.5])
def test_bits_out_of_range_are_refused(bits):
    with pytest.raises(ValueError, match="from 1 to 8"):
        book.quantize_best([1.0, 2.0, 3.0], bits)


@pytest.mark.parametrize("bad", [[], [1.0, np.nan], [np.inf, 1.0]])
def test_what_cannot_be_clustered_is_refused(bad):
    with pytest.raises(ValueError, match="empty, or contain NaN or infinity"):
        book.quantize_best(bad, bits=2)


@pytest.mark.parametrize("value", [0.0, 0.25, -3.5])
def test_one_value_needs_no_index_bits(value, tmp_path):
    tensor = book.quantize_best(np.full((3, 4), value), bits=4)
    assert tensor.index_bits == 0 and tensor.codebooks.tolist() == [[value]]
    assert (tensor.weights() == np.float32(value)).all() and tensor.weights().shape == (3, 4)
    book.write_and_check(tmp_path / "one.cbk", {"fc": tensor})


def test_a_single_weight():
    assert book.quantize_best([0.5], bits=1).weights().tolist() == [0.5]


@pytest.mark.parametrize("bits", range(2, 9))
def test_more_clusters_than_different_values_is_lossless(bits):
    weights = np.float32([[0.5, -1, 0.5], [2, -1, 0.5]])
    tensor = book.quantize_best(weights, bits)
    assert tensor.codebooks.tolist() == [[-1, 0.5, 2]]
    np.testing.assert_array_equal(tensor.weights(), weights)


@pytest.mark.parametrize("bits", range(1, 9))
def test_each_weight_gets_its_nearest_value(layers, bits):
    weights = layers["conv2"]
    tensor = book.quantize_best(weights, bits)
    assert tensor.codebooks.shape == (1, 2**bits) and (np.diff(tensor.codebooks) > 0).all()
    nearest = np.abs(weights.ravel()[:, None] - tensor.codebooks[0]).min(axis=1)
    np.testing.assert_allclose(np.abs(tensor.weights() - weights).ravel(), nearest, atol=1e-7)


def test_scale_and_offset_go_through(layers):
    weights = layers["fc3"]
    plain = book.quantize_best(weights, 3).weights()
    scaled = book.quantize_best(weights * 1e-20, 3).weights() * 1e20
    shifted = book.quantize_best(weights + 8, 3).weights() - 8
    np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(shifted, plain, atol=2e-3)


def test_groups_are_quantized_each_for_itself(layers):
    weights = layers["conv2"]
    together = book.quantize_best(weights, 2, groups=len(weights))
    assert together.codebooks.shape == (16, 4)
    for row, channel in zip(together.weights(), weights):
        np.testing.assert_array_equal(row, book.quantize_best(channel, 2).weights())


def test_groups_with_unequally_many_values():
    weights = np.float32([[1, 1, 1, 1], [1, 2, 3, 4]])
    tensor = book.quantize_best(weights, 2, groups=2)
    assert tensor.codebooks.tolist() == [[1, 1, 1, 1], [1, 2, 3, 4]]
    np.testing.assert_array_equal(tensor.weights(), weights)


def test_a_layer_with_the_codebook_of_the_linear_start():
    tensor = book.from_linear_start(book.TWELVE.reshape(3, 4), bits=2)
    np.testing.assert_allclose(tensor.codebooks, [[-8, 22 / 7, 17, 30]])
    assert tensor.indices.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 3]]
    np.testing.assert_allclose(tensor.weights()[0], -8)
    assert book.squared_error(tensor, book.TWELVE.reshape(3, 4)) == pytest.approx(48 + 6 / 7)


@pytest.mark.parametrize("bits", [3, 1])
def test_comparing_the_two_codebooks_of_a_network(page, lenet, layers, bits):
    row = page["compare_codebooks"](lenet, bits)
    errors = [
        sum(book.squared_error(method(w, bits), w) for w in layers.values())
        for method in (book.from_linear_start, book.quantize_best)
    ]
    assert row["inertia"] == pytest.approx(errors[0] / errors[1]) and row["inertia"] >= 1 - 1e-5
    difference = (row["gained"] - row["lost"]) / len(mnist("test").labels)
    assert row["best"] - row["linear start"] == pytest.approx(difference)
    assert row["low"] <= difference <= row["high"] and row["n"] == len(mnist("test").labels)
    best = {name: book.quantize_best(w, bits) for name, w in layers.items()}
    right = predict(with_weights(lenet, best), mnist("test").images).argmax(1)
    assert row["best"] == pytest.approx(np.mean(right == mnist("test").labels))


def test_the_stored_comparison_is_complete_and_consistent():
    rows, about = long_runs.load_rows(STORED)
    assert {"data", "torch", "date", "machine"} <= set(about)
    assert {(row["seed"], row["bits"]) for row in rows} == set(product(range(5), (8, 4, 3, 2, 1)))
    for row in rows:
        changed = row["lost"] + row["gained"]
        expected = binomtest(row["lost"], changed).pvalue if changed else 1.0
        assert row["p"] == pytest.approx(expected)
        difference = (row["gained"] - row["lost"]) / row["n"]
        assert row["best"] - row["linear start"] == pytest.approx(difference)
        assert row["low"] <= difference <= row["high"]
        assert row["inertia"] >= 1 - 1e-5


def test_the_stored_comparison_bears_out_what_the_opening_says():
    """The optimum buys nothing reliable; inertias differ much at 8 bits, hardly at 1 and 2."""
    rows, _ = long_runs.load_rows(STORED)
    for bits in (8, 4, 3, 2, 1):
        better = [
            row["p"] < 0.05 and row["gained"] > row["lost"] for row in rows if row["bits"] == bits
        ]
        assert not all(better)
    directions = {row["gained"] > row["lost"] for row in rows if row["p"] < 0.05}
    assert directions == {True, False}, "in either direction"
    assert all(row["p"] >= 0.05 for row in rows if row["bits"] >= 3), "at many values none differs"
    assert min(row["inertia"] for row in rows if row["bits"] == 8) > 2
    assert max(row["inertia"] for row in rows if row["bits"] <= 2) < 1.05


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
        tensor = book.quantize_best(layers[name], bits)
        coding, coded = book.encode_indices(tensor)
        account = book.account(name, tensor)
        assert len(coded) == min(account["fixed width"], account["Huffman"])
        assert account["entropy bound"] <= len(coded) + 1e-6
        codings.add(coding)
    assert codings == {book.FIXED, book.HUFFMAN}


def test_an_account_by_hand():
    tensor = book.CodebookTensor(
        (2, 4), np.float32([[-1, 0, 1]]), np.uint8([[1, 1, 1, 1, 0, 0, 2, 2]])
    )
    item = book.account("fc", tensor)
    # name 1 + 2, dimensions 1 + 8, then 2 + 2 + 1 + 4; codes of 2, 1 and 2 bits
    assert (item["header"], item["codebooks"], item["fixed width"]) == (21, 12, 2)
    assert item["Huffman"] == 3 + 2 and item["entropy bound"] == pytest.approx(12 / 8)
    assert book.file_bytes({"fc": tensor}) == 5 + 21 + 12 + 2


def test_a_network_runs_from_its_file_like_the_reconstruction(lenet, layers, tmp_path):
    coded = {name: book.quantize_best(weights, 3) for name, weights in layers.items()}
    read = book.write_and_check(tmp_path / "lenet.cbk", coded)
    images = mnist("test").images[:200]
    from_file = predict(with_weights(lenet, read), images)
    rebuilt = predict(with_weights(lenet, coded), images)
    np.testing.assert_array_equal(from_file, rebuilt)
    assert not np.array_equal(from_file, predict(lenet, images))


def test_a_damaged_file_never_becomes_weights(tmp_path):
    path = tmp_path / "tiny.cbk"
    part = tmp_path / "part.cbk"
    coded = {
        "a": book.quantize_best(heavy_tailed(300), 2),
        "b": book.quantize_best(np.float32([[1, 2]]), 1),
    }
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


def test_the_race_counts_cpu_seconds_and_clusters(monkeypatch):
    ticks = count()
    clock = SimpleNamespace(process_time=lambda: 3.0 * next(ticks))
    monkeypatch.setitem(book.race.__globals__, "time", clock)
    results = book.race(np.append(heavy_tailed(2000), np.float32(1e3)), 16, rounds=2)
    assert (results["CPU s"] == 3).all() and (results["k"] == 16).all()
    assert len(results) == 5
    rows = results.set_index("method")
    assert rows["inertia"].min() == pytest.approx(rows.loc["dynamic programming", "inertia"])
    stranded = rows.loc["sorted Lloyd, linear start", "empty clusters"]
    assert stranded > 0 == rows.loc["dynamic programming", "empty clusters"]


def test_slow_methods_race_only_where_they_end():
    weights = heavy_tailed(100)
    assert len(book.methods(weights, 4)) == len(book.methods(weights, 16)) == 5
    assert len(book.methods(weights, 17)) == 4


def test_tasks_expect_the_right_answers(page):
    assert page.expected == pytest.approx([10, 36, 14, 22])


def test_guesses_are_scored_by_what_the_page_shows(page):
    rows, _ = long_runs.load_rows(STORED)
    better = [row for row in rows if row["p"] < 0.05 and row["gained"] > row["lost"]]
    assert page.truths["04b-optimum"] == len(better)
    assert page.truths["04b-race"] > 0
    fixed = page["bill"].loc["sum", "fixed width"]
    saved = 100 - 100 * page["bill"].loc["sum", "Huffman"] / fixed
    assert page.truths["04b-huffman"] == pytest.approx(saved, abs=0.051)


def test_the_page_shows_that_inertia_does_not_decide(page):
    assert page["changed"] == 0 and page["times"] > 1.5
    once, twice = page["once"], page["twice"]
    np.testing.assert_array_equal(twice.weights(), 2 * once.weights())
    line = f"inertia times {page['times']:.1f}, answers changed: 0"
    assert f"{line}\n" in page.printed


def test_the_page_computes_what_it_prints(page):
    assert (
        "best of 165 ways: 6.0; dynamic programming: 6.0, cuts [ 0  4  8 11 12]\n" in page.printed
    )
    assert page["entropy"] <= page["mean_length"] < page["entropy"] + 1
    assert page["frequency"].sum() == pytest.approx(1)
    for bits, layers in page["per_layer"].items():
        size = page["size"][page["BITS"].index(bits)]
        assert size == book.file_bytes(layers)
        assert page["smaller"][page["BITS"].index(bits)] == pytest.approx(4 * 44_190 / size)
    np.testing.assert_allclose(page["table"]["bits per weight"], 8 * page["size"] / 44_190)
    assert page["ours"]["inertia / least"].max() < 1 + 1e-3
    scikit = page["results"][page["results"]["method"] == "scikit-learn, linear start"]
    assert (scikit["CPU speed-up"] == 1).all()
    few = page["results"][page["results"]["k"] <= 16]
    at_256 = page["at_256"]["inertia / least"]
    assert few["inertia / least"].max() < at_256.max(), "closer together than at 256 clusters"
    assert at_256["sorted Lloyd, linear start"] > 1.3, "the linear start ends far above the least"
    conv1 = page["bill"].loc["conv1"]
    assert conv1["fixed width"] < conv1["Huffman"]
    total = page["bill"].loc["sum"]
    assert total["Huffman"] < total["fixed width"] and total["above"] < 0.1
    assert total["float32"] == 4 * 44_190
    assert total["above"] == pytest.approx(total["Huffman"] / total["entropy bound"] - 1)


def test_the_figure_shows_the_stored_pairs(page):
    rows, _ = long_runs.load_rows(STORED)
    axes = page.figures[0].axes[0]
    lines = np.concatenate(
        [c.get_segments() for c in axes.collections if hasattr(c, "get_segments")]
    )
    shown = sorted((low, high) for (_, low), (_, high) in lines)
    expected = sorted((100 * row["low"], 100 * row["high"]) for row in rows)
    np.testing.assert_allclose(shown, expected)
    points = np.concatenate(
        [c.get_offsets() for c in axes.collections if not hasattr(c, "get_segments")]
    )
    gains = sorted(100 * (row["best"] - row["linear start"]) for row in rows)
    np.testing.assert_allclose(sorted(points[:, 1]), gains, atol=1e-9)


def test_solutions_use_the_functions_of_the_lesson():
    lesson = sources(NAME)
    copied = sources(f"solutions/{NAME}")
    shared = set(lesson) & set(copied) - {"answers"}
    assert shared >= {"bracketed", "optimal_codebook", "quantize_best", "code_lengths", "account"}
    assert {name: lesson[name] for name in shared} == {name: copied[name] for name in shared}
