"""Notebook 07: gradients through a grid are those of the literature, and the freezes freeze.

The figures of the committed page are those of the stored run.
"""

import copy
import math
import re

import notebook_pages
import numpy as np
import pytest
import shared_networks
import torch
from claims import check
from notebook_code import cell_with, code_cells, definitions
from torch import nn

from helpers import long_runs, models, training
from helpers.data import Images, mnist, normalize
from helpers.quiet import quiet

NAME = "07_quantization_aware_training"
book = definitions(NAME)
# the notebook's own namespace: what its cells set at run time is set here
names = book.fit.__globals__


@pytest.fixture(scope="module", autouse=True)
def as_in_the_notebook(quick_networks):
    with quiet():
        import torchao.quantization.pt2e as pt2e
        from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
            XNNPACKQuantizer,
            get_symmetric_quantization_config,
        )
        from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e
    train_set = mnist("train")
    names.update(
        pt2e=pt2e,
        XNNPACKQuantizer=XNNPACKQuantizer,
        prepare_qat_pt2e=prepare_qat_pt2e,
        convert_pt2e=convert_pt2e,
        get_symmetric_quantization_config=get_symmetric_quantization_config,
        qat_epochs=2,
        library_epochs=2,
        test_set=mnist("test"),
        train_set=Images(train_set.images[:1280], train_set.labels[:1280], train_set.source),
        lenet=quick_networks["lenet"],
        calibration=torch.from_numpy(normalize(train_set.images[:64])),
    )


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# gradients


def test_rounding_passes_the_gradient_straight_through():
    x = (normal(100) * 5).requires_grad_()
    y = book.round_straight_through(x)
    assert torch.allclose(y, x.round(), atol=1e-6)
    assert torch.equal(torch.autograd.grad((3 * y).sum(), x)[0], torch.full_like(x, 3))


def test_a_scaled_gradient_leaves_the_value():
    x = normal(50).requires_grad_()
    y = book.scale_gradient(x, 0.125)
    assert torch.allclose(y, x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.full_like(x, 0.125))


@pytest.mark.parametrize("low, high, zero", [(-1, 1, 0), (-3, 3, 0), (0, 15, 6), (0, 255, 0)])
def test_the_step_has_the_gradient_of_the_paper(low, high, zero):
    """Esser et al. (2020), equation 3 with a zero point.

    It is round(v/s) - v/s inside the grid, and low - z or high - z where v is clipped.
    """
    step = torch.tensor([0.3])
    v = (normal(400) * 0.3 * high).requires_grad_()
    grid = book.LearnedGrid(step, torch.tensor([float(zero)]), low, high, sharing=400)
    marks = v.detach() / 0.3
    inside = (marks.round() + zero >= low) & (marks.round() + zero <= high)
    clipped = torch.where(marks > 0, high - zero, low - zero).float()
    by_value = torch.where(inside, marks.round() - marks, clipped)
    upstream = normal(400, seed=1)
    of_step, of_v = torch.autograd.grad(grid(v), (grid.step, v), upstream)
    expected = (by_value * upstream).sum() / np.sqrt(400 * high)
    assert torch.allclose(of_step, expected, rtol=1e-4, atol=1e-4)
    assert torch.allclose(of_v, upstream * inside, atol=1e-5)


def test_under_the_squared_error_inner_numbers_narrow_the_step_and_clipped_ones_widen_it():
    v = normal(1000) * 2
    grid = book.LearnedGrid(torch.ones(1), torch.zeros(1), -3, 3, sharing=1)
    errors = (grid(v) - v) ** 2
    gradients = [torch.autograd.grad(error, grid.step, retain_graph=True) for error in errors]
    slopes = torch.stack([gradient for (gradient,) in gradients]).ravel()
    clipped = v.round().abs() > 3
    assert 50 < clipped.sum() < 500
    # training moves against the slope
    assert (slopes[~clipped] >= 0).all()
    assert (slopes[clipped] < 0).all()


# grids


def test_each_channel_has_a_step_and_shares_its_gradient():
    weight = normal(6, 4, 5, 5) * torch.arange(1, 7).view(-1, 1, 1, 1)
    grid = book.weight_grid(weight, 4)
    assert grid.step.shape == (6, 1, 1, 1)
    assert (grid.low, grid.high) == (-7, 7)
    assert not grid.zero.any()
    assert grid.gradient_scale == pytest.approx(1 / np.sqrt(100 * 7))
    assert book.weight_grid(weight, 4, per_channel=False).step.numel() == 1
    values = normal(10, 3, 7, 7).relu()
    of_input = book.input_grid(values, 4)
    assert of_input.step.dim() == 0
    assert of_input.gradient_scale == pytest.approx(1 / np.sqrt(147 * 15))


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_the_grids_are_those_of_notebook_05(bits):
    affine = definitions("05_affine_quantization")
    weight = normal(8, 50)
    for search, find in ((False, affine.min_max_range), (True, affine.mse_range)):
        grid = affine.affine_grid(*find(weight.numpy(), bits, True), bits, True)
        theirs = affine.fake_quantize(weight.numpy(), grid)
        ours = book.weight_grid(weight, bits, search=search)(weight).detach().numpy()
        close = np.isclose(ours, theirs, atol=1e-4).mean()
        assert close > 0.99, close  # a tie of two errors may fall either way in float32
    inputs = normal(20, 30).relu()
    low, high = affine.mse_range(inputs.numpy().reshape(1, -1), bits)
    theirs = affine.fake_quantize(inputs.numpy(), affine.affine_grid(low.item(), high.item(), bits))
    ours = book.input_grid(inputs, bits)(inputs).detach().numpy()
    assert np.isclose(ours, theirs, atol=1e-4).mean() > 0.99


def test_the_zero_point_is_the_level_of_the_number_0():
    values = torch.linspace(-1, 3, 81).reshape(1, -1)
    grid = book.input_grid(values, 8, search=False)
    assert grid.zero == 64  # a quarter of 255
    assert (grid(values) - values).abs().max() < 0.6 * 4 / 255


def test_zeros_stay_zeros_and_have_a_finite_gradient():
    weight = torch.zeros(3, 5, requires_grad=True)
    grid = book.weight_grid(weight.detach(), 3)
    moved = grid(weight)
    moved.sum().backward()
    assert not moved.any()
    assert torch.isfinite(weight.grad).all()
    assert torch.isfinite(grid.step.grad).all()


def test_ternary_and_binary_weights_are_those_of_the_papers():
    weight = normal(4, 3, 5, 5)
    parts = (weight, book.Ternary()(weight), book.Binary()(weight))
    for row, ternary, binary in zip(*(part.flatten(1) for part in parts)):
        beyond = row.abs() > 0.7 * row.abs().mean()
        expected = torch.where(beyond, row.sign() * row[beyond].abs().mean(), 0.0)
        assert torch.allclose(ternary, expected, atol=1e-6)
        assert torch.allclose(binary, row.sign() * row.abs().mean(), atol=1e-6)
    for kind in (book.Ternary, book.Binary):
        v = weight.clone().requires_grad_()
        assert torch.equal(torch.autograd.grad(kind()(v).sum(), v)[0], torch.ones_like(v))


def test_it_is_about_sixty_lines():
    parts = (
        book.round_straight_through,
        book.scale_gradient,
        book.LearnedGrid,
        book.grid_over,
        book.fit,
        book.weight_grid,
        book.input_grid,
        book.fake_quantized,
    )
    lines = [line for part in parts for line in source_of(part).splitlines() if line.strip()]
    assert len(lines) <= 75, len(lines)


def source_of(part) -> str:
    """The source of a definition, from the notebook's cells."""
    pattern = rf"^(?:class|def) {part.__name__}\b.*?(?=^\S|\Z)"
    matches = (re.search(pattern, cell.source, re.M | re.S) for cell in code_cells(NAME))
    return next(match[0] for match in matches if match)


def run_cell(pattern: str, **values) -> dict:
    """What the one cell with `pattern` leaves, run with the notebook's definitions and `values`."""
    return notebook_pages.run_cell(NAME, pattern, **book.as_dict() | values)


def test_the_page_draws_which_way_the_squared_error_moves_the_step(capsys):
    left = run_cell("widening = ")
    v, widening, slope = left["v"], left["widening"], left["slope"]
    assert capsys.readouterr().out.count("True") == 2
    # 2.3 is 0.3 above its level: the gradient of the step is -0.3, and the error's is 2 * 0.3 ** 2
    near = (v - 2.3).abs().argmin()
    assert slope[near] == pytest.approx(round(2.3) - 2.3, abs=0.01)
    assert widening[near] == pytest.approx(-2 * 0.3**2, abs=0.01)
    assert slope[-1] == 3 and slope[0] == -3


def test_weights_in_steps_are_whole_numbers_at_the_levels():
    network = book.ptq("PTQ per channel, MSE", 2)
    layer = book.weighted_layers(network)["fc1.1"]
    step = layer.parametrizations.weight[0].step.detach()
    with torch.no_grad():
        layer.parametrizations.weight.original.copy_(2 * step.expand(120, 256))
    assert torch.allclose(book.in_steps(network), torch.full((120 * 256,), 2.0))
    assert torch.allclose(layer.weight, step.expand(120, 256)), "clipped at one step"
    medians = book.weight_steps(network)
    assert list(medians) == ["conv1", "conv2", "fc1", "fc2", "fc3"]
    assert medians["fc1"] == pytest.approx(step.median().item())


# networks


def test_a_network_on_grids_is_a_copy_and_keeps_its_image_at_8_bits(quick_networks):
    lenet = quick_networks["lenet"]
    before = copy.deepcopy(lenet.state_dict())
    network = book.ptq("PTQ per channel, MSE", 2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lenet.state_dict().items())
    grids = [part for part in network.modules() if isinstance(part, book.LearnedGrid)]
    assert [(grid.low, grid.high) for grid in grids].count((0, 255)) == 1
    assert [(grid.low, grid.high) for grid in grids].count((0, 3)) == 4
    assert [(grid.low, grid.high) for grid in grids].count((-1, 1)) == 5
    for layer in book.weighted_layers(network).values():
        assert all(len(row.unique()) <= 3 for row in layer.weight.detach().flatten(1))


def test_a_layer_on_three_marks_learns_the_step_and_the_marks():
    """The true weights are -a, 0 and a: training finds them from other weights and a wrong step."""
    true = 0.7 * torch.randint(-1, 2, (4, 16), generator=torch.Generator().manual_seed(0))
    weight = nn.Parameter(true + 0.2 * normal(4, 16, seed=1))
    grid = book.LearnedGrid(torch.full((4, 1), 0.3), torch.zeros(4, 1), -1, 1, sharing=16)
    optimizer = torch.optim.Adam([weight, *grid.parameters()], lr=0.02)
    inputs = normal(64, 16, seed=2)
    losses = []
    for _ in range(300):
        loss = (inputs @ (grid(weight) - true).T).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 1000, (losses[0], losses[-1])
    torch.testing.assert_close(grid.step.detach(), torch.full((4, 1), 0.7), rtol=0.05, atol=0)
    torch.testing.assert_close(grid(weight).detach(), true, rtol=0, atol=0.05)


def test_training_repairs_what_two_bits_broke():
    network = book.ptq("PTQ per channel, MSE", 2)
    steps = {name: p.clone() for name, p in network.named_parameters() if name.endswith("step")}
    before = (book.answers(network) == mnist("test").labels).mean()
    repaired = book.qat(network, seed=shared_networks.seed() or 0)
    after = (book.answers(repaired) == mnist("test").labels).mean()
    check("07: accuracy of 2 bits after training", after)
    check("07: share of the errors of 2 bits left after training", (1 - after) / (1 - before))
    moved = dict(repaired.named_parameters())
    assert len(steps) == 10
    assert all(not torch.equal(moved[name], step) for name, step in steps.items())


def test_before_epoch_is_told_each_epoch_in_training_mode(quick_networks):
    network = copy.deepcopy(quick_networks["lenet"])
    seen = []
    few = Images(mnist("train").images[:64], mnist("train").labels[:64], "64 images")

    def note(epoch):
        seen.append((epoch, network.training))

    training.train(network, few, training.Recipe(3, 1e-4, 0.0), before_epoch=note)
    assert seen == [(0, True), (1, True), (2, True)]


def test_the_twin_computes_the_same_with_weights_far_apart(quick_depthwise):
    images = mnist("test").images[:100]
    folded = models.fold_batch_norm(quick_depthwise)
    logits = training.predict(folded, images)
    unfolded = training.predict(quick_depthwise, images)
    atol = 1e-4 * np.abs(logits).max()
    np.testing.assert_allclose(logits, unfolded, rtol=1e-4, atol=atol)
    twin = models.unequalize_channels(folded)
    # powers of two: not a bit changes
    np.testing.assert_array_equal(training.predict(twin, images), logits)
    for block, scaled in zip(list(folded)[1:5], list(twin)[1:5]):
        before = block.depthwise[0].weight.detach().abs().amax((1, 2, 3))
        after = scaled.depthwise[0].weight.detach().abs().amax((1, 2, 3))
        assert sorted(set((after / before).tolist())) == [1 / 16, 16]


def test_the_depthwise_network_has_the_grids_that_its_name_says(quick_depthwise, monkeypatch):
    monkeypatch.setitem(names, "depthwise", quick_depthwise)
    monkeypatch.setitem(names, "calibration", names["calibration"][:4])
    networks = {
        "twin": book.depthwise_ptq(),
        "plain": book.depthwise_ptq(4, twin=False),
        "plain per channel": book.depthwise_ptq(4, twin=False, per_channel=True),
        "equalized": book.depthwise_ptq(equalize=True),
    }

    def grids(name, low):
        parts = [part for part in networks[name].modules() if isinstance(part, book.LearnedGrid)]
        return [part for part in parts if part.low == low]

    count = len(book.weighted_layers(networks["twin"]))
    assert len(grids("twin", -127)) == len(grids("plain", -7)) == count
    assert len(grids("twin", 0)) == count
    assert all(grid.step.numel() == 1 for grid in grids("plain", -7))
    assert sum(grid.step.numel() > 1 for grid in grids("plain per channel", -7)) == count
    widest = max(grid.step.max() for grid in grids("twin", -127))
    even = max(grid.step.max() for grid in grids("equalized", -127))
    assert widest > 4 * even, "the twin's weights are far apart"


def test_a_random_start_differs_by_seed_and_in_nothing_else(monkeypatch):
    monkeypatch.setitem(names, "qat", lambda model, seed: model)
    in_float = book.from_random(0)
    again = book.from_random(0, bits=8)
    other = book.from_random(1)
    layers = book.weighted_layers(again).values()
    exact_layers = book.weighted_layers(in_float).values()
    for exact, layer in zip(exact_layers, layers, strict=True):
        assert torch.equal(exact.weight, layer.parametrizations.weight.original)
        # a convolution before batch normalization has none
        assert exact.bias is layer.bias is None or torch.equal(exact.bias, layer.bias)
    of_others = [layer.weight for layer in book.weighted_layers(other).values()]
    for exact, of_other in zip(exact_layers, of_others, strict=True):
        assert not torch.equal(exact.weight, of_other)
    grids = [part for part in again.modules() if isinstance(part, book.LearnedGrid)]
    assert sorted((grid.low, grid.high) for grid in grids) == 5 * [(-127, 127)] + 5 * [(0, 255)]


def test_the_claim_is_counted_in_answers(capsys):
    left = run_cell("claimed = {")
    assert left["fewer"] == pytest.approx(11)
    # 11 of 31 split images, such as 10 : 21, are 1.98 standard deviations; of 32 they are 1.94
    assert int(left["needed"]) == 31
    assert 11 / math.sqrt(31) > 1.96 > 11 / math.sqrt(32)
    assert "11 answers fewer" in capsys.readouterr().out


def test_what_could_be_chance_is_counted_in_the_images_of_the_claim(monkeypatch, capsys):
    truth = np.zeros(1000, np.int64)
    ptq = truth.copy()
    ptq[:3] = 1
    random_start = truth.copy()
    random_start[2:8] = 1  # both are wrong in one, two and five are right in one of them alone
    runs = {
        name: {f"seed {seed}": ptq for seed in book.SEEDS}
        for name in (book.PTQ_8, "QAT, 8 bits", "LeNet, trained on", "random start, 32 bits")
    }
    runs[book.FROM_RANDOM] = {f"seed {seed}": random_start for seed in book.SEEDS}
    for name, value in {"runs": runs, "truth": truth, "train_everything": False}.items():
        monkeypatch.setitem(names, name, value)
    left = run_cell("split = ", claimed_images=10_000, truth=truth)
    assert left["split"] == pytest.approx(70)
    printed = capsys.readouterr().out
    assert "70 would be right with one of the two alone" in printed
    assert f"up to {1.96 * math.sqrt(70):.0f} answers" in printed
    columns = ["against PTQ", "against float, same start"]
    rows = book.seed_table(left["judged"]).loc["random weights"]
    assert rows[columns].values.tolist() == 3 * [["5 : 2", "5 : 2"]]


def test_the_share_of_the_weights_has_its_unit(quick_depthwise, tmp_path):
    file = tmp_path / "a.onnx"
    file.write_bytes(bytes(96_000))
    weights_kb = sum(tensor.numel() for tensor in quick_depthwise.parameters()) / 1000
    values = {"files": {"QAT, ONNX Runtime": file}, "weights_kb": weights_kb, "answer": None}
    share = run_cell("share = 1000 * weights_kb", **values)["share"]
    assert share == pytest.approx(23_930 / 96_000)


def test_the_table_of_files_has_kilobytes_and_counts_other_answers(monkeypatch, tmp_path):
    class Zeros:
        def predict(self, x):
            return np.eye(10, dtype=np.float32)[np.zeros(len(x), int)]

    zeros = np.zeros(len(names["test_set"].labels), np.int64)
    file = tmp_path / "a.onnx"
    file.write_bytes(bytes(65_000))
    left = run_cell(
        'called = {"float32, PyTorch"',
        float_answers=zeros,
        simulated=np.where(np.arange(len(zeros)) < 3, 1, zeros),
        files={"QAT, ONNX Runtime": file, "PTQ, ONNX Runtime": file},
        open_model=lambda path: Zeros(),
        depthwise=nn.Linear(10, 5, bias=False),
        test_set=names["test_set"],
    )
    rows = left["shipped"]
    assert rows["QAT, ONNX Runtime, int8 file"]["kB"] == "65"
    assert rows["QAT, ONNX Runtime, int8 file"]["other answers than simulated"] == 3
    assert "other answers than simulated" not in rows["PTQ, ONNX Runtime, int8 file"]
    assert left["weights_kb"] == pytest.approx(0.05)


def test_equalizing_keeps_the_function_and_evens_out_the_ranges(quick_depthwise):
    images = mnist("test").images[:100]
    twin = models.unequalize_channels(models.fold_batch_norm(quick_depthwise))
    before = copy.deepcopy(twin.state_dict())
    even = models.equalized(twin)
    logits = training.predict(twin, images)
    atol = 1e-4 * np.abs(logits).max()
    np.testing.assert_allclose(training.predict(even, images), logits, rtol=1e-3, atol=atol)
    assert all(torch.equal(before[name], tensor) for name, tensor in twin.state_dict().items())
    for block in list(even)[1:5]:
        made = block.expand[0].weight.detach().abs().amax((1, 2, 3))
        filtered = block.depthwise[0].weight.detach().abs().amax((1, 2, 3))
        used = block.project[0].weight.detach().abs().amax((0, 2, 3))
        for other in (filtered, used):
            torch.testing.assert_close(made, other, rtol=0.02, atol=1e-6)


def batch_norm_modes(graph) -> set:
    return {
        node.args[5]
        for node in graph.graph.nodes
        if node.target is torch.ops.aten.batch_norm.default
    }


def simulated_grids(graph) -> tuple[list, list]:
    """Scale and zero point of every fake quantization, in the order of the graph.

    Returns those of weights and those of activations.
    """
    calls = [node for node in graph.graph.nodes if node.op == "call_module"]
    parts = [graph.get_submodule(node.target) for node in calls]
    pairs = [
        (part.scale.tolist(), part.zero_point.tolist())
        for part in parts
        if isinstance(part, names["pt2e"].FakeQuantize)
    ]
    of_weights = [pair for pair in pairs if len(pair[0]) > 1]
    of_activations = [pair for pair in pairs if len(pair[0]) == 1]
    return of_weights, of_activations


def converted_grids(graph) -> tuple[list, list]:
    """The same of the operators that conversion left: of weights, of activations."""
    nodes = [node for node in graph.graph.nodes if node.op == "call_function"]
    constants = dict(graph.named_buffers()) | dict(graph.named_parameters())
    of_weights = [
        tuple(constants[part.target].tolist() for part in node.args[1:3])
        for node in nodes
        if "dequantize_per_channel" in str(node.target)
    ]
    of_activations = [
        ([node.args[1]], [node.args[2]])
        for node in nodes
        if "quantize_per_tensor" in str(node.target) and "dequantize" not in str(node.target)
    ]
    return of_weights, of_activations


def running_statistics(graph) -> dict[str, torch.Tensor]:
    """Copies of the running means and variances of a graph's batch normalizations."""
    state = graph.state_dict()
    return {name: tensor.clone() for name, tensor in state.items() if "running_" in name}


@pytest.mark.slow
def test_the_library_way_freezes_and_converts_to_what_was_simulated(quick_depthwise):
    graph = book.prepared(quick_depthwise, names["calibration"], bits=8)
    seen = []

    def note(epoch, loss):
        grids = {
            name: tensor.clone()
            for name, tensor in graph.state_dict().items()
            if re.search(r"running_mean|(?<!process_\d)\.(scale|min_val)$", name)
        }
        seen.append((epoch, loss, batch_norm_modes(graph), grids))
        book.look(graph)  # must not stop the next epoch from moving ranges and statistics

    finished = book.library_qat(graph, shared_networks.seed() or 0, epochs=3, after_epoch=note)
    assert [epoch for epoch, *_ in seen] == [1, 2, 3]
    assert [mode for _, _, mode, _ in seen] == [{True}, {True}, {False}]
    assert all(0 < loss < 5 for _, loss, *_ in seen)
    first, second, third = (grids for *_, grids in seen)
    assert len(first) > 40
    # the first half follows, the second half is frozen
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert all(torch.equal(second[name], third[name]) for name in first)
    simulated = logits(finished)
    with quiet():
        forgotten = copy.deepcopy(finished)
    book.set_mode(forgotten, training=True)
    change = np.abs(simulated - logits(forgotten)).max()
    check("07: largest change of a logit where evaluation mode is forgotten", change)
    expected = simulated_grids(finished)
    before = running_statistics(finished)
    converted = book.converted_graph(finished)
    after = running_statistics(finished)
    assert all(torch.equal(after[name], before[name]) for name in before), "a copy is converted"
    found = converted_grids(converted)
    for theirs, ours in zip(found, expected, strict=True):
        assert len(theirs) == len(ours) > 5
        for (scale, zero), (of_scale, of_zero) in zip(theirs, ours):
            np.testing.assert_allclose(scale, of_scale, rtol=1e-6)
            np.testing.assert_array_equal(zero, of_zero)
    same = (logits(converted).argmax(1) == simulated.argmax(1)).mean()
    check("07: same answers after conversion at 8 bits", same)
    moved = running_statistics(forgotten)
    assert not any(torch.equal(moved[name], before[name]) for name in before)


@pytest.mark.parametrize("count", [640, 4000, 9000])
def test_the_library_way_freezes_half_way_and_takes_no_more_steps_with_more_images(
    count, monkeypatch
):
    digits = mnist("train")
    chosen = np.arange(count) % len(digits.labels)
    train_set = Images(digits.images[chosen], digits.labels[chosen], digits.source)
    monkeypatch.setitem(names, "train_set", train_set)
    modes = []
    monkeypatch.setitem(names, "set_mode", lambda graph, training: modes.append(training))
    graph = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    steps = []
    graph.register_forward_hook(lambda *_: steps.append(1))
    book.library_qat(graph, 0, epochs=2)
    assert modes == [True, False]
    assert len(steps) == 2 * (min(count, 4000) // 64)


def logits(graph) -> np.ndarray:
    """What a graph computes for 200 test images."""
    inputs = torch.from_numpy(normalize(mnist("test").images[:200]))
    with torch.no_grad():
        return torch.cat([graph(part) for part in inputs.split(10)]).numpy()


@pytest.mark.parametrize(
    "cell, answer",
    [
        ("check(answer, 2 * (2 ** (5 - 1) - 1) + 1", 31),
        ("check(answer, round(2.3) - 2.3", -0.3),
        ("check(answer, int(math.log(256, 3))", 5),
    ],
)
def test_the_right_answers_of_the_short_tasks_are_right(capsys, cell, answer):
    source = cell_with(NAME, cell)
    exec(source, book.as_dict() | {"answer": answer})
    assert capsys.readouterr().out == "Right.\n"
    exec(source, book.as_dict() | {"answer": -answer})
    assert "Not yet" in capsys.readouterr().out


# the stored runs


@pytest.fixture(scope="module")
def stored() -> dict[tuple[str, int], float]:
    """The accuracies of the stored runs in per cent: {(name, seed): accuracy}."""
    labels, runs, _ = long_runs.load(book.STORED)
    assert len(labels) >= 1000
    return {
        (name, int(seed.removeprefix("seed "))): 100 * np.mean(answers == labels)
        for name, of_seeds in runs.items()
        for seed, answers in of_seeds.items()
    }


def test_the_stored_runs_were_made_as_the_page_says(stored):
    values: dict = {}
    cells = code_cells(NAME)
    exec(next(c.source for c in cells if "parameters" in c.metadata.get("tags", [])), values)
    _, runs, about = long_runs.load(book.STORED)
    for setting in ("qat_epochs", "library_epochs"):
        assert about[setting] == str(values[setting])
    for name, of_seeds in runs.items():
        assert list(of_seeds) == [f"seed {seed}" for seed in book.seeds_of(name)]


@pytest.mark.parametrize("bits, least", [(4, 98.2), (3, 97.8), (2, 97.0)])
def test_the_committed_curve(stored, bits, least):
    for seed in book.SEEDS:
        assert stored[f"QAT, {bits} bits", seed] >= least


def test_the_committed_ladder(stored):
    of = {name: value for (name, seed), value in stored.items() if seed == 0}
    assert of["PTQ per channel, MSE, 2 bits"] < 95 and of["PTQ per tensor, min-max, 2 bits"] < 50
    assert all(of[f"{placing}, 8 bits"] > 98 for placing in book.PLACINGS)
    assert of["Ternary, QAT"] >= 97.5 > of["Ternary, PTQ"]
    assert of["Binary, QAT"] >= 97 > 90 > of["Binary, PTQ"]
    assert of["twin per tensor, PTQ"] < 50
    assert of["twin per tensor, QAT"] > 90
    # the grid of the curve, but with inputs of 8 bits
    assert of["Learned, QAT"] >= 97.5 > of["Learned, PTQ"]
    # what is free
    assert of["twin per channel, PTQ"] > 95
    assert of["twin equalized, PTQ"] > 95


def page() -> str:
    """All that the committed notebook shows, as one line of words."""
    outputs = [output for cell in code_cells(NAME) for output in cell.outputs]
    texts = [output.get("text", "") for output in outputs]
    tables = [output.get("data", {}).get("text/html", "") for output in outputs]
    shown = " ".join(text + table for text, table in zip(texts, tables))
    return " ".join(re.sub(r"<.*?>", " ", shown).split())


def test_the_page_says_what_was_stored(stored):
    names = ["QAT, 2 bits", f"3 bits, {book.RIGHT}", "plain per tensor, QAT"]
    for name in names:
        figures = [f"{stored[name, seed]:.1f}" for seed in book.seeds_of(name)]
        assert ", ".join(figures) in page(), name
    rows = {f"{bits} bits": f"{bits} bits" for bits in (8, 6, 5, 4, 3, 2)}
    for label, bits in rows.items():
        before = stored[f"{book.QAT_START}, {bits}", 0]
        figures = [f"{stored[f'QAT, {bits}', seed]:.1f}" for seed in book.seeds_of(f"QAT, {bits}")]
        row = rf"{label} 0 {before:.1f} {figures[0]} \d+ : \d+"
        for seed, figure in enumerate(figures[1:], 1):
            row += rf"\S* \S+ : \S+ {seed} {before:.1f} {figure} \d+ : \d+"
        assert re.search(row, page()), row
    equalized = stored["twin equalized, PTQ", 0]
    assert f"{equalized:.1f} % equalized without training" in page()
    found = re.search(r"all inside narrow the step: (\w+); all clipped widen it: (\w+)", page())
    assert found.groups() == ("True", "True")


def test_the_page_opens_with_a_rescue():
    """Early on, and by most of what rounding took."""
    cells = code_cells(NAME)
    before = float(re.search(r"before training: ([\d.]+)% of", page())[1])
    after = [float(value) for value in re.findall(r"epoch \d+: loss [\d.]+, ([\d.]+)%", page())]
    assert before < 50 and after[-1] > 85 and len(after) >= 2
    place = next(i for i, cell in enumerate(cells) if "before training:" in cell.source)
    assert place < 10
    assert re.search(r"[0-9] answers change with conversion", page())


def test_every_sentence_about_the_curve_is_true_of_it(stored):
    """They part only below 4 bits."""
    for bits in (8, 6, 5, 4):
        gain = stored[f"QAT, {bits} bits", 0] - stored[f"{book.QAT_START}, {bits} bits", 0]
        assert abs(gain) < 1, bits
    assert stored["QAT, 2 bits", 0] - stored[f"{book.QAT_START}, 2 bits", 0] > 5


def test_the_page_judges_a_claim_by_pairs_over_three_seeds(stored):
    assert "QAT gets 11 answers fewer than PTQ with min-max ranges" in page()
    assert "only if at most 31 of 10,000 are right with one of them alone" in page()
    # from the trained network, 8 bits lose nothing that counts; a random start is another network
    for seed in book.SEEDS:
        assert abs(stored["QAT, 8 bits", seed] - stored[book.PTQ_8, 0]) < 1
        assert stored[book.FROM_RANDOM, seed] > 90
    # more training alone changes little
    for seed in book.SEEDS:
        assert abs(stored["LeNet, trained on", seed] - stored["LeNet, float", 0]) < 1


def test_the_network_that_nothing_was_planted_in_loses_and_only_training_repairs_it(stored):
    exact = stored["depthwise, float", 0]
    for way in book.WAYS:
        assert exact - stored[f"plain {way}, PTQ", 0] > 1, way
        for seed in book.seeds_of("plain per tensor, QAT"):
            assert stored["plain per tensor, QAT", seed] > stored[f"plain {way}, PTQ", 0]


def test_the_stored_runs_are_of_one_machine_and_a_commit():
    *_, about = long_runs.load(book.STORED)
    assert re.fullmatch(r"[0-9a-f]{7,40}", about["commit"]), about["commit"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])


def test_the_page_shows_loss_and_step_sizes_of_every_epoch():
    found = re.search(r"step sizes end between (\d+)% and (\d+)%", page())
    lowest, highest = map(int, found.groups())
    assert 20 < lowest <= highest < 300


def test_the_page_judges_the_files_with_and_without_training():
    rows = re.findall(
        r"(QAT|PTQ), (ExecuTorch|ONNX Runtime), int8 file ([\d.]+) % \([^)]*\) (\d+) (\d+)", page()
    )
    assert [row[:2] for row in rows] == [
        ("QAT", "ExecuTorch"),
        ("QAT", "ONNX Runtime"),
        ("PTQ", "ONNX Runtime"),
    ]
    for *_, lost, gained in rows:
        assert int(lost) - int(gained) <= 6, rows


def test_every_row_at_3_bits_has_its_seeds_and_the_grave_mistake_costs(stored):
    right = f"3 bits, {book.RIGHT}"

    def lost(row: str) -> list[float]:
        name = f"3 bits, {row}"
        return [stored[right, seed] - stored[name, seed] for seed in book.seeds_of(name)]

    assert len(book.SEEDS) == 3 and len(book.seeds_of(right)) >= 2
    untrained = stored[f"3 bits, {book.UNTRAINED}", 0]
    for seed in book.seeds_of(right):
        assert stored[right, seed] > untrained + 20
    assert min(lost(book.LOOKED)) > 1, lost(book.LOOKED)
    assert len(lost(book.NEVER)) >= 2


def test_runs_are_compared_image_by_image_over_their_seeds(monkeypatch):
    truth = np.arange(10).repeat(10)

    def wrong_in(which: range) -> np.ndarray:
        called = truth.copy()
        called[list(which)] = (called[list(which)] + 1) % 10
        return called

    wrong = {
        "LeNet, float": [range(2)],
        "few, QAT": [range(20, 40), range(20, 40), range(1, 3)],
        "bad, QAT": [range(20, 40), range(20, 50), range(20, 41)],
    }
    runs = {
        name: {f"seed {seed}": wrong_in(which) for seed, which in enumerate(of_seeds)}
        for name, of_seeds in wrong.items()
    }
    monkeypatch.setitem(names, "runs", runs)
    monkeypatch.setitem(names, "truth", truth)
    monkeypatch.setitem(names, "train_everything", False)
    bad = ("LeNet, float", {})
    few = book.comparison("LeNet, float", "few, QAT")
    assert few == "20 : 2, 20 : 2, 1 : 1; depends on the seed"
    assert book.comparison("LeNet, float", "bad, QAT") == "20 : 2, 30 : 2, 21 : 2; worse"
    assert book.comparison("bad, QAT", "LeNet, float") == "2 : 20, 2 : 30, 2 : 21; better"
    assert book.comparison("LeNet, float", "LeNet, float") == "0 : 0; no difference seen"
    table = book.seed_table({"few": ("few, QAT", {"lost : gained": "LeNet, float"}), "bad": bad})
    assert table.index.tolist() == [*(("few", seed) for seed in range(3)), ("bad", 0)]
    assert table["%"].tolist() == ["80.0", "80.0", "98.0", "98.0"]
    assert table["lost : gained"].tolist() == ["20 : 2*", "20 : 2*", "1 : 1", ""]
