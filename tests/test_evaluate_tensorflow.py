"""`workbook evaluate` with TensorFlow's models: .keras files and SavedModel folders."""

import importlib.util
import subprocess
import sys

import numpy as np
import pytest

from helpers.runtimes import open_model
from modelfiles.conversion import tensorflow_form
from modelfiles.errors import ConversionError
from modelfiles.limits import NO_LIMITS, Limits
from modelfiles.programs import environment
from workbook.evaluate import candidates, tensorflow_source
from workbook.evaluate.source import Source, possible_runtimes, source_of

needs_tensorflow = pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is None, reason="TensorFlow is not installed"
)

# one process makes all models, because the import takes ten seconds
MAKE = """
import sys
import numpy as np
import tensorflow as tf
layers = tf.keras.layers
folder = sys.argv[1]
tf.keras.utils.set_random_seed(0)
net = tf.keras.Sequential([
    tf.keras.Input((8, 8, 3)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(),
    layers.Dense(5),
])
net.save(folder + "/net.keras")
net.export(folder + "/saved", verbose=False)
x = np.random.default_rng(0).standard_normal((40, 8, 8, 3)).astype(np.float32)
np.savez(folder + "/data.npz", x_data=x, y_data=net.predict(x, verbose=0).argmax(1))
np.save(folder + "/answers.npy", net.predict(x, verbose=0))
line = tf.keras.Sequential([tf.keras.Input((6,)), layers.Dense(2)])
line.save(folder + "/line.keras")

class Mine(layers.Layer):
    def call(self, x):
        return x * 2

tf.keras.Sequential([tf.keras.Input((6,)), Mine(), layers.Dense(2)]).save(folder + "/mine.keras")
tf.keras.Sequential([tf.keras.Input((6,)), layers.Lambda(lambda x: x * 2)]).save(
    folder + "/lambda.keras")
free = tf.keras.Sequential([tf.keras.Input((None, None, 3)), layers.Conv2D(4, 3)])
free.save(folder + "/free.keras")
two = [tf.keras.Input((6,)), tf.keras.Input((6,))]
tf.keras.Model(two, layers.Add()(two)).save(folder + "/two.keras")
"""


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tensorflow")
    settings = environment({"TF_CPP_MIN_LOG_LEVEL": "3"})
    command = [sys.executable, "-c", MAKE, str(folder)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "torn.keras").write_bytes(b"no archive")
    (folder / "broken").mkdir()
    (folder / "broken" / "saved_model.pb").write_bytes(b"no graph")
    return folder


def inputs(models):
    x = np.load(models / "data.npz")["x_data"].transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x), np.load(models / "answers.npy")


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize("name", ["net.keras", "saved"])
def test_float_and_full_int8(models, tmp_path, name):
    x, wanted = inputs(models)
    source = source_of(str(models / name))
    assert source.tensorflow and possible_runtimes(source) == ["tflite"]
    made = candidates.prepare(source, ["tflite", "armnn"], x[:1], tmp_path, x, lambda line: None)
    plain, armnn, whole, _ = made
    assert not plain.problem and armnn.path == plain.path
    model = open_model(plain.path)
    assert model.input_shape == (1, 3, 8, 8)
    assert model.predict(x) == pytest.approx(wanted, abs=1e-4)
    model = open_model(whole.path)
    assert model.precision == "int8" and model.input_types == ("float32", "int8")
    assert np.abs(model.predict(x) - wanted).max() < 0.1 * np.abs(wanted).max()
    # beyond the largest calibrated number: clipped, where a cast would wrap around
    far = np.full_like(x[:1], 1000)
    nearest = np.full_like(x[:1], 20)
    assert (model.predict(far) == model.predict(nearest)).all()


@needs_tensorflow
@pytest.mark.slow
def test_features_of_keras(models, tmp_path):
    tensorflow_form.to_tflite(models / "line.keras", tmp_path / "line.tflite")
    assert open_model(tmp_path / "line.tflite").input_shape == (1, 6)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(
    "name, words",
    [
        ("mine.keras", "mine.keras has a class of its own, Mine, and only Keras's own are loaded"),
        ("lambda.keras", "lambda.keras has a Lambda layer, Python code inside the file"),
        ("free.keras", "leaves the sizes of its input free"),
        ("two.keras", "two.keras has 2 inputs; only one is supported"),
        ("torn.keras", "torn.keras cannot be loaded by Keras: is it damaged"),
        ("broken", "broken is no SavedModel that can be loaded"),
    ],
)
def test_models_that_cannot_be_used(models, tmp_path, name, words):
    with pytest.raises(ConversionError, match=words) as raised:
        tensorflow_form.to_tflite(models / name, tmp_path / "a.tflite")
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


@needs_tensorflow
def test_a_model_that_takes_too_long(tmp_path):
    (tmp_path / "net.keras").write_bytes(b"")
    with pytest.raises(ConversionError, match="did not end within 0.1 s"):
        tensorflow_form.to_tflite(
            tmp_path / "net.keras", tmp_path / "a.tflite", limits=Limits(seconds=0.1)
        )


def test_without_tensorflow_the_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorflow_form.importlib.util, "find_spec", lambda name: None)
    source = Source("net", tensorflow=tmp_path / "net.keras")
    x = np.zeros((1, 6), np.float32)
    [made] = candidates.prepare(source, ["tflite"], x, tmp_path, say=lambda line: None)
    assert "net.keras needs TensorFlow: pip install tensorflow-cpu" in made.problem


@pytest.mark.parametrize("runtime", ["onnx", "mnn", "ncnn", "executorch", "torch"])
def test_what_tensorflow_does_not_reach_is_a_row_that_says_what_to_do(tmp_path, runtime):
    with pytest.raises(
        ConversionError, match="converted to LiteRT only; .*(tf2onnx|torch.nn.M|copy)"
    ):
        tensorflow_source.write(tmp_path, runtime, tmp_path / "a", None, NO_LIMITS)
