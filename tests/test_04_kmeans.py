"""Notebook 04: clustering, training the shared values, the file, and what the pages say of them."""

import re
from itertools import product
from types import SimpleNamespace

import executed_notebooks
import matplotlib.pyplot as plt
import numpy as np
import pytest
from claims import check
from notebook_code import code_cells, definitions, sources
from sklearn.cluster import KMeans

from helpers import codebooks, long_runs
from helpers.data import Images, mnist
from helpers.metrics import accuracy, mcnemar
from helpers.paths import ROOT
from helpers.training import predict

NAME = "04_kmeans_quantization"
STORED = ROOT / "notebooks" / "figures" / f"{NAME}.json"
book = definitions(NAME)
best = definitions("04b_codebooks_to_the_last_byte")


@pytest.fixture(scope="module")
def lenet(quick_networks):
    return quick_networks["lenet"]


@pytest.fixture(scope="module")
def layers(lenet):
    return codebooks.layer_weights(lenet)


@pytest.fixture(scope="module")
def page(quick_networks):
    return executed_notebooks.run(NAME, fine_tune_epochs=1, fine_tune_images=500)


@pytest.fixture(scope="module")
def stored():
    return long_runs.load(STORED)


def heavy_tailed(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_t(3, n).astype(np.float32)


# clustering


def test_lloyd_from_a_linear_start_is_stuck_on_the_twelve_numbers():
    centroids, rounds = book.lloyd(book.TWELVE, book.linear_start(book.TWELVE, 4))
    np.testing.assert_allclose(centroids, [-8, 22 / 7, 17, 30])
    assert rounds == 2
    assert book.inertia(book.TWELVE, centroids) == pytest.approx(48 + 6 / 7)
    assert book.inertia(book.TWELVE, np.array([-8, 1, 6, 30])) == 6


@pytest.mark.parametrize(
    ("weights", "nearest"), [([-5, 0.4, 0.6, 9], [0, 0, 1, 2]), ([1, 2.4, 2.6, 4], [1, 1, 2, 2])]
)
def test_borders_are_halfway_between_neighbours(weights, nearest):
    found = book.nearest_index(np.array(weights), np.array([0.0, 1, 4]))
    assert found.tolist() == nearest


@pytest.mark.parametrize("k", [4, 16])
def test_lloyd_and_scikit_learn_agree(layers, k):
    weights = layers["fc1"].ravel().astype(np.float64)
    # no cluster is empty, which scikit-learn would move
    start = np.quantile(weights, (np.arange(k) + 0.5) / k)
    ours, _ = book.lloyd(weights, start)
    theirs = KMeans(k, init=start[:, None], n_init=1, tol=0, max_iter=10_000).fit(weights[:, None])
    np.testing.assert_allclose(theirs.cluster_centers_.ravel(), ours, atol=1e-6)
    assert book.inertia(weights, ours) == pytest.approx(theirs.inertia_, rel=1e-6)


def test_lloyd_never_goes_uphill(layers):
    weights = layers["conv2"].ravel()
    centroids = book.linear_start(weights, 64)
    for _ in range(20):
        before = book.inertia(weights, centroids)
        centroids, _ = book.lloyd(weights, centroids, rounds=1)
        assert book.inertia(weights, centroids) <= before * (1 + 1e-12)


@pytest.mark.parametrize("k", [2, 5, 64])
def test_the_package_does_the_same_as_the_notebook(k):
    weights = heavy_tailed(1000, seed=k)
    start = book.linear_start(weights, k)
    np.testing.assert_array_equal(codebooks.linear_start(weights, k), start)
    found, rounds = book.lloyd(weights, start)
    np.testing.assert_array_equal(codebooks.lloyd(weights, start)[0], found)
    assert codebooks.lloyd(weights, start)[1] == rounds
    numbers = book.nearest_index(weights, found)
    np.testing.assert_array_equal(codebooks.nearest_index(weights, found), numbers)
    assert codebooks.inertia(weights, found) == book.inertia(weights, found)
    packed = book.pack(numbers, 6)
    assert codebooks.pack(numbers, 6) == packed
    np.testing.assert_array_equal(codebooks.unpack(packed, 6, 1000), book.unpack(packed, 6, 1000))


# a layer on codebooks


@pytest.mark.parametrize("value", [0.0, 0.25, -3.5])
def test_a_constant_layer_stays_as_it_is(value):
    tensor = book.quantize(np.full((3, 4), value), bits=4)
    np.testing.assert_array_equal(tensor.weights(), np.full((3, 4), value, np.float32))


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


@pytest.mark.parametrize("bits", [1, 3, 8])
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
    np.testing.assert_allclose(scaled, plain, rtol=1e-4, atol=1e-6)


def test_groups_are_quantized_each_for_itself(layers):
    weights = layers["conv2"]
    together = book.quantize(weights, 2, groups=len(weights))
    assert together.codebooks.shape == (16, 4)
    for row, channel in zip(together.weights(), weights):
        np.testing.assert_array_equal(row, book.quantize(channel, 2).weights())


def test_all_layers_of_a_network(lenet, layers):
    assert set(layers) == {"conv1", "conv2", "fc1", "fc2", "fc3"}
    for per_channel in (False, True):
        for name, tensor in book.quantize_all(lenet, 1, per_channel).items():
            groups = len(layers[name]) if per_channel else 1
            assert tensor.codebooks.shape == (groups, 2)
            assert tensor.shape == layers[name].shape
            means = np.take_along_axis(tensor.codebooks, tensor.indices.astype(int), 1).mean(1)
            rows = layers[name].reshape(groups, -1)
            np.testing.assert_allclose(means, rows.mean(1), atol=1e-5)  # centroids are means


# the file


@pytest.mark.parametrize("bits", range(9))
def test_pack_and_unpack(bits):
    numbers = np.random.default_rng(bits).integers(0, 2**bits, 37).astype(np.uint8)
    packed = book.pack(numbers, bits)
    assert len(packed) == -(-37 * bits // 8)
    np.testing.assert_array_equal(book.unpack(packed, bits, 37), numbers)


def test_the_highest_bit_comes_first():
    assert book.pack(np.array([5, 1]), 3) == bytes([0b10100100])


@pytest.mark.parametrize(
    ("shape", "bits", "groups", "expected"),
    [((150,), 8, 1, (1024, 150)), ((10, 84), 1, 10, (80, 105)), ((3, 3), 3, 1, (32, 4))],
)
def test_bytes_of_a_layer(shape, bits, groups, expected):
    assert book.bytes_needed(shape, bits, groups) == expected


@pytest.mark.parametrize(("bits", "per_channel"), product((8, 3, 1), (False, True)))
def test_a_file_gives_every_weight_back(lenet, layers, tmp_path, bits, per_channel):
    path = tmp_path / "lenet.codebook"
    coded = book.quantize_all(lenet, bits, per_channel)
    book.write_file(path, coded)
    shapes = {name: weights.shape for name, weights in layers.items()}
    for name, tensor in book.read_file(path, shapes, bits, per_channel).items():
        np.testing.assert_array_equal(tensor.codebooks, coded[name].codebooks)
        np.testing.assert_array_equal(tensor.indices, coded[name].indices)
        assert tensor.weights().shape == layers[name].shape


def test_a_file_of_another_length_never_becomes_weights(tmp_path):
    path = tmp_path / "part.codebook"
    book.write_file(path, {"a": book.quantize(heavy_tailed(30), 2)})
    content = path.read_bytes()
    assert len(content) == 16 + 8
    for other in (content[:-1], content + b"x", b""):
        path.write_bytes(other)
        with pytest.raises(ValueError, match=r"part.codebook has .* expected 24"):
            book.read_file(path, {"a": (30,)}, 2)


# training the shared values


def few_images() -> Images:
    train_set = mnist("train")
    return Images(train_set.images[:4000], train_set.labels[:4000], train_set.source)


def loss_of(network, coded) -> float:
    """Mean cross-entropy on the test images."""
    test = mnist("test")
    with_coded = codebooks.with_weights(network, coded)
    logits = book.torch.from_numpy(predict(with_coded, test.images))
    return book.torch.nn.functional.cross_entropy(logits, book.torch.from_numpy(test.labels)).item()


@pytest.mark.parametrize("per_channel", [False, True])
def test_training_two_values_helps_and_keeps_the_indices(lenet, layers, per_channel):
    coded = {
        name: best.quantize_best(weights, 1, len(weights) if per_channel else 1)
        for name, weights in layers.items()
    }
    tuned = book.fine_tune(lenet, coded, few_images(), epochs=2)
    kept = loss_of(lenet, tuned) / loss_of(lenet, coded)
    unit = "channel" if per_channel else "layer"
    check(f"04: test loss that training two values leaves, per {unit}", kept)
    for name, tensor in tuned.items():
        np.testing.assert_array_equal(tensor.indices, coded[name].indices)
        assert tensor.codebooks.shape == coded[name].codebooks.shape


def test_the_gradient_of_a_value_is_the_sum_over_its_weights(lenet, layers):
    coded = {"fc2": book.quantize(layers["fc2"], 2, groups=4)}
    plain = codebooks.with_weights(lenet, coded)
    shared = book.with_shared_values(lenet, coded)
    inputs = book.torch.from_numpy(book.normalize(mnist("train").images[:32]))
    values = shared.fc2.parametrizations.weight[0].codebooks
    (of_values,) = book.torch.autograd.grad(shared(inputs).square().sum(), values)
    (of_weights,) = book.torch.autograd.grad(plain(inputs).square().sum(), plain.fc2.weight)
    groups = zip(coded["fc2"].indices, of_weights.numpy().reshape(4, -1))
    summed = [np.bincount(index, gradients, minlength=4) for index, gradients in groups]
    atol = 1e-4 * np.abs(summed).max()
    np.testing.assert_allclose(of_values.numpy(), summed, rtol=1e-3, atol=atol)
    trained = [name for name, parameter in shared.named_parameters() if parameter.requires_grad]
    assert trained == ["fc2.parametrizations.weight.0.codebooks"]


# tables and figures: 100 images, of which `wrong` are read wrong


def on_a_hundred_images(function):
    """A function of the notebook, with a test set of 100 images that show a zero."""
    function.__globals__["test_set"] = SimpleNamespace(labels=np.zeros(100, int))
    return function


def called(wrong: int) -> np.ndarray:
    return np.repeat([1, 0], [wrong, 100 - wrong])


def test_a_comparison_is_in_per_cent_and_goes_from_before_to_after():
    row = on_a_hundred_images(book.compared)(called(1), called(9))
    exact = accuracy(np.zeros(100, int), called(9))
    assert row == {
        "accuracy (%)": "91.0",
        "95 % interval": f"{100 * exact.low:.1f} to {100 * exact.high:.1f}",
        "lost": 8,
        "gained": 0,
        "p": "0.0078",
    }
    assert book.right(called(9)) == "91.0 %"


@pytest.mark.parametrize(
    ("before", "after", "expected"), [(0, 6, True), (0, 5, False), (6, 0, False), (4, 4, False)]
)
def test_a_loss_needs_more_than_five_lost_images(before, after, expected):
    assert on_a_hundred_images(book.show_loss)(called(before), called(after)) == expected


def test_errors_are_drawn_in_per_cent_with_their_intervals():
    figure, axes = plt.subplots()
    ends = on_a_hundred_images(book.draw_errors)(axes, [1, 2], [called(9), called(20)])
    [bars] = axes.containers
    np.testing.assert_allclose(bars[0].get_ydata(), [9, 20])
    np.testing.assert_allclose(np.transpose(ends), [s[:, 1] for s in bars[2][0].get_segments()])
    for segment, share in zip(bars[2][0].get_segments(), (9, 20)):
        exact = accuracy(np.zeros(100, int), called(share))
        expected = [100 * (1 - exact.high), 100 * (1 - exact.low)]
        np.testing.assert_allclose(segment[:, 1], expected)
    assert "%" in axes.get_ylabel() and "n = 100" in axes.get_ylabel()
    plt.close(figure)


# the page, run with few images


def test_tasks_expect_the_right_answers(page):
    assert page.expected == pytest.approx([3 * 1000 + 8 * 32, 7, 20, -0.15, 256 * 4 + 150])


def test_guesses_are_scored_by_what_the_page_shows(page, stored):
    labels, runs, _ = stored
    broken = [np.mean(run["2 values per layer"] == labels) for run in runs.values()]
    assert page.truths["04-two-values"] == pytest.approx(100 * np.mean(broken), abs=0.051)
    assert page.truths["04-four-groups"] == "no"
    assert re.fullmatch("[1-6] bits?", page.truths["04-first-loss"])
    right = 100 * np.mean(page["trained_to"][1] == mnist("test").labels)
    assert page.truths["04-ten-numbers"] == pytest.approx(right, abs=0.051)
    assert page.truths["04-eight-bits"] == pytest.approx(4 * 44_190 / (44_190 + 5 * 1024), abs=0.01)
    assert 50 < page.truths["04-fc1"] <= 100


def test_the_page_prints_the_toy_results(page):
    for line in (
        "152 bits instead of 384",
        "inertia 6.0",
        "best 6.0, where it ends 48.9",
        "00000000 01010101 10101011",
        "both values of conv2 doubled: 0 answers changed",
    ):
        assert f"{line}\n" in page.printed
    nearest = book.nearest_index(page["TWELVE"], page["codebook"])
    np.testing.assert_array_equal(page["indices"], nearest)


def test_the_first_tables_are_those_of_the_stored_run(page, stored):
    labels, runs, _ = stored
    for run, steps in runs.items():
        for step in page["STEPS"]:
            right = 100 * np.mean(steps[step] == labels)
            assert page["steps"].loc[run, step] == pytest.approx(right)
    for (title, shown), (before, after) in zip(
        page["columns"].items(),
        [
            ("float", "2 values per layer"),
            ("2 values per layer", "2 values per layer, trained"),
            ("2 values per channel", "2 values per channel, trained"),
            ("float", "2 values per channel, trained"),
        ],
    ):
        for text, steps in zip(shown, runs.values()):
            pair = mcnemar(labels, steps[before], steps[after])
            assert text.startswith(f"{pair.lost} : {pair.gained} (p = {pair.p:.1g}"), title


def test_what_the_page_says_of_bits_is_what_it_computed(page):
    labels = mnist("test").labels
    for bits in page["BITS"]:
        pair = mcnemar(labels, page["float_answers"], page["clustered"][bits])
        assert (bits in page["worse"]) == (pair.p < 0.05 and pair.lost > pair.gained)
        pair = mcnemar(labels, page["clustered"][bits], page["trained_to"][bits])
        assert (bits in page["helped"]) == (pair.p < 0.05 and pair.gained > pair.lost)
        pair = mcnemar(labels, page["float_answers"], page["trained_to"][bits])
        assert (bits in page["still"]) == (pair.p < 0.05 and pair.lost > pair.gained)


def test_files_are_as_long_as_arithmetic_says(page):
    shapes = page["shapes"].values()
    for (unit, bits), size in page["sizes"].items():
        books = len(page["shapes"]) if unit == "layer" else sum(shape[0] for shape in shapes)
        indices = sum(-(-int(np.prod(shape)) * bits // 8) for shape in shapes)
        assert size == indices + 4 * books * 2**bits
    assert page["float_bytes"] == 4 * 44_190


def test_the_table_of_files(page):
    for (unit, bits), size in page["sizes"].items():
        row = page["files"][f"{book.in_words(bits)}, a codebook per {unit}"]
        assert row["file (bytes)"] == f"{size:,}"
        assert row["bits per weight"] == f"{8 * size / 44_190:.2f}"
        assert row["times smaller"] == f"{4 * 44_190 / size:.1f}"
        called = page["trained_to" if unit == "layer" else "channel_trained_to"][bits]
        assert row["accuracy (%)"] == f"{100 * np.mean(called == mnist('test').labels):.1f}"


def test_the_tables_of_training(page):
    for bits in page["CHANNEL_BITS"]:
        row = page["channel_training"][book.in_words(bits)]
        assert row["values"] == (6 + 16 + 120 + 84 + 10) * 2**bits
        before = page["channel_clustered"][bits]
        pair = mcnemar(mnist("test").labels, before, page["channel_trained_to"][bits])
        assert (row["lost"], row["gained"]) == (pair.lost, pair.gained)
    for bits in page["BITS"]:
        row = page["training"][book.in_words(bits)]
        pair = mcnemar(mnist("test").labels, page["clustered"][bits], page["trained_to"][bits])
        assert (row["lost"], row["gained"]) == (pair.lost, pair.gained)
        before = np.mean(page["clustered"][bits] == mnist("test").labels)
        assert row["as clustered (%)"] == f"{100 * before:.1f}"


def test_the_figures_show_what_was_computed(page):
    steps, twelve, values, digit, by_bits, by_bytes = page.figures
    for line, (_, row) in zip(steps.axes[0].lines, page["steps"].iterrows()):
        np.testing.assert_allclose(line.get_ydata(), row[list(page["STEPS"])])
    assert len(twelve.axes[0].lines) == 9
    [drawn] = values.axes[0].collections
    centroids, _ = book.lloyd(page["fc1"], book.linear_start(page["fc1"], 16))
    np.testing.assert_allclose([s[0, 0] for s in drawn.get_segments()], centroids)
    for axes in digit.axes[1:]:
        heights = [bar.get_height() for bar in axes.patches]
        assert sum(heights) == pytest.approx(1, abs=1e-5)
        assert axes.get_title("left").endswith(str(np.argmax(heights)))
    labels = mnist("test").labels
    wrong = [100 * np.mean(page["trained_to"][bits] != labels) for bits in page["BITS"]]
    np.testing.assert_allclose(by_bits.axes[0].containers[1][0].get_ydata(), wrong)
    kib = [page["sizes"]["layer", bits] / 1024 for bits in page["BITS"]]
    for axis, expected in zip(by_bytes.axes[0].containers[0][0].get_xydata().T, (kib, wrong)):
        np.testing.assert_allclose(axis, expected)


def test_digits_are_read_by_networks_with_ever_fewer_values(page):
    networks = page["readers"]
    assert list(networks) == ["float32", "4 values per layer", "2 values per layer"]
    for name, most in (("4 values per layer", 4), ("2 values per layer", 2)):
        assert len(np.unique(networks[name].fc1.weight.detach())) == most
    assert page["probabilities"].sum() == pytest.approx(1, abs=1e-5)
    assert len(page["probabilities"]) == 10


def test_shares_of_a_network_add_up(page, layers):
    rows = [page["one_layer_at_1_bit"](page["lenet"], name) for name in layers]
    assert sum(float(row["share of the network"].rstrip("%")) for row in rows) == pytest.approx(
        100, abs=0.3
    )
    assert sum(int(row["weights"].replace(",", "")) for row in rows) == 44_190
    assert page["one_layer"]["MnistNet, fc1"]["share of the network"].startswith("98.")
    for name, row in zip(layers, rows):
        shown = page["one_layer"][f"LeNet, {name}"]
        assert shown == row and float(shown["accuracy (%)"]) <= 100


def test_the_ratio_of_two_values_is_first_over_second(page):
    tensor = codebooks.CodebookTensor((2,), np.float32([[-3, 2]]), np.uint8([[0, 1]]))
    assert book.ratio(tensor) == -1.5


# the long run


def test_a_step_is_stored_under_the_name_of_what_was_done(page, monkeypatch):
    """The long run's function, with a network that is trained already."""
    steps_of = page["steps_of"]
    monkeypatch.setitem(page.variables, "loaded_or_trained", lambda *_: page["lenet"])
    monkeypatch.setitem(page.variables, "fine_tune", lambda _, layers, *__: layers)
    found = steps_of(seed=0)
    np.testing.assert_array_equal(found["float"], page["float_answers"])
    assert set(page["STEPS"]) <= set(found)
    for bits in (2, 1):
        values = f"{2**bits} values per"
        np.testing.assert_array_equal(found[f"{values} layer"], page["clustered"][bits])
        expected = page["channel_clustered"][bits]
        np.testing.assert_array_equal(found[f"{values} channel"], expected)
        np.testing.assert_array_equal(found[f"{values} channel, trained"], expected)


def test_the_stored_run_bears_out_what_the_opening_says(stored):
    labels, runs, about = stored
    assert list(runs) == [f"seed {seed}" for seed in range(5)]
    assert {"data", "torch", "date", "machine"} <= set(about)

    def pairs(before, after):
        return [mcnemar(labels, run[before], run[after]) for run in runs.values()]

    for run in runs.values():
        assert 0.98 < np.mean(run["float"] == labels) < 1, "about 99 %"
    for pair in pairs("float", "2 values per layer"):
        assert pair.p < 0.05 and pair.value < -0.05, "two values per layer break all five"
    trained = pairs("2 values per layer", "2 values per layer, trained")
    assert all(0 < pair.value < 0.2 for pair in trained), "training ten numbers helps a little"
    assert any(pair.p >= 0.05 for pair in trained), "not in each network beyond doubt"
    for before in ("2 values per channel", "2 values per layer, trained"):
        for pair in pairs(before, "2 values per channel, trained"):
            assert pair.p < 0.05 and pair.value > 0, "training one per channel mends all five"
    for pair in pairs("float", "2 values per channel, trained"):
        assert -0.05 < pair.value < 0, "nearly everything"


# the committed page


def last_table() -> dict[str, list[str]]:
    """The last table as committed: {first entry of a row: the others}."""
    outputs = [output for cell in code_cells(NAME) for output in cell.outputs]
    tables = [
        output["data"]["text/html"] for output in outputs if "text/html" in output.get("data", {})
    ]
    found = {}
    for row in re.findall("<tr>.*?</tr>", tables[-1], re.S):
        entries = re.findall("<t[hd].*?</t[hd]>", row, re.S)
        head, *rest = [re.sub("<.*?>", "", entry).strip() for entry in entries]
        found[head] = rest
    return found


def test_what_the_committed_page_concludes():
    """Accuracies of networks that are trained in full."""
    seen = {name: float(accuracy.split()[0]) for name, (accuracy, _) in last_table().items()}
    one_bit = seen["1 bit, a codebook per layer"]
    one_bit_trained = seen["1 bit, a codebook per layer, trained"]
    two_bits = seen["2 bits, a codebook per layer"]
    assert seen["float32"] - seen["4 bits, a codebook per layer"] <= 1.5
    assert seen["float32"] - one_bit >= 10
    assert seen["2 bits, a codebook per layer, trained"] > two_bits - 0.5
    assert one_bit_trained > one_bit + 3
    assert seen["1 bit, a codebook per channel, trained"] > one_bit_trained + 3


def test_solutions_use_the_functions_of_the_lesson():
    lesson = sources(NAME)
    copied = sources(f"solutions/{NAME}")
    shared = set(lesson) & set(copied) - {"answers"}
    assert shared >= {"quantize", "bytes_needed", "SharedValues", "fine_tune"}
    assert {name: lesson[name] for name in shared} == {name: copied[name] for name in shared}
