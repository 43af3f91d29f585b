"""MobileNetV2 with the weights of its quantized file, and the reader of these weights."""

import numpy as np
import pytest
import torch

from helpers import vision
from helpers.data import fetch
from helpers.models import torchvision_model
from helpers.runtimes import open_model
from helpers.vision import mobilenet
from modelfiles.errors import ModelFileError
from modelfiles.formats.tflite_weights import convolutions

LABELS = {
    "cat_720p.jpg": "Egyptian cat",
    "parrot.jpg": "macaw",
    "dog_segmentation.bmp": "Samoyed",
    "hot_dog.jpg": "hotdog",
    "dragonfly.bmp": "dragonfly",
    "bird.bmp": "chickadee",
}


def shared_pictures() -> list:
    """All pictures of WORKBOOK_DATA, without the masks of segmentation."""
    folder = fetch(mobilenet.QUANTIZED).parents[1]
    return [path for path in vision.list_images(folder) if "mask" not in path.name]


def normalized_by_hand(image: np.ndarray) -> np.ndarray:
    channels = [(image[..., i] / 255 - mobilenet.MEAN[i]) / mobilenet.STD[i] for i in range(3)]
    return np.stack(channels)


def test_a_picture_is_normalized_per_channel_in_the_order_red_green_blue():
    image = np.zeros((10, 20, 3), np.uint8)
    image[...] = (255, 128, 0)
    x = vision.as_input(image, 32)
    assert x.shape == (1, 3, 32, 32) and x.dtype == np.float32 and x.flags.c_contiguous
    np.testing.assert_allclose(x[0, :, 5, 5], normalized_by_hand(image)[:, 0, 0], atol=1e-6)


def test_a_damaged_file_is_an_error_with_its_name(tmp_path):
    path = tmp_path / "broken.tflite"
    for content in (b"", b"\x10\0\0\0TFL3", bytes(100), b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(ModelFileError, match=r"weights of broken\.tflite cannot be read"):
            convolutions(path)


@pytest.mark.data
def test_the_layers_have_the_shapes_of_torchvision():
    layers = convolutions(fetch(mobilenet.QUANTIZED))
    theirs = [
        tuple(module.weight.shape)
        for module in torchvision_model("mobilenet_v2").modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    assert [weights.shape for weights, _ in layers[:-1]] == theirs
    assert layers[-1][0].shape == (1001, 1280, 1, 1) and layers[-1][1].shape == (1001,)
    assert all(weights.dtype == bias.dtype == np.float32 for weights, bias in layers)
    # the grid has 256 values, so the float weights have at most as many
    assert all(np.unique(weights).size <= 256 for weights, _ in layers)


@pytest.mark.data
def test_the_float_network_answers_like_the_quantized_file():
    """74 of 79 pictures here; at least nine in ten on any processor."""
    quantized = open_model(fetch(mobilenet.QUANTIZED))
    network = vision.mobilenet_v2()
    names = vision.imagenet_names()
    pictures = shared_pictures()
    same = 0
    for path in pictures:
        x = vision.as_input(path)
        with torch.inference_mode():
            answer = int(network(torch.from_numpy(x)).argmax())
        # the file takes the bytes of the same small picture, and its class 0 is "background"
        pixels = x[0] * mobilenet.STD[:, None, None] + mobilenet.MEAN[:, None, None]
        same += (
            answer + 1 == quantized.predict((pixels * 255).round().astype(np.uint8)[None]).argmax()
        )
        if path.name in LABELS:
            assert names[answer] == LABELS[path.name]
    assert len(pictures) == 79 and same >= 0.9 * len(pictures)


@pytest.mark.data
def test_the_padding_of_torchvision_answers_differently():
    """The reason for the padding layers: without them, the same weights see another picture."""
    network = vision.mobilenet_v2()
    image = torch.from_numpy(
        vision.as_input(fetch(mobilenet.QUANTIZED).parents[1] / "images/cat_720p.jpg")
    )
    with torch.inference_mode():
        exact = network(image)
        for block in network.modules():
            if isinstance(block, torch.nn.ZeroPad2d):
                block.padding = (0, 0, 0, 0)
            if isinstance(block, torch.nn.Conv2d) and block.stride == (2, 2):
                block.padding = (1, 1)
        assert (network(image) - exact).abs().max() > 0.5
