"""The networks of the book, small enough to read in one look."""

import torch
from torch import nn


class MnistNet(nn.Sequential):
    """The CNN that the whole book carries from runtime to runtime: 1,199,882 parameters, 11,992,448 MACs an image.

    Input float32, N x 1 x 28 x 28 (helpers.data.normalize makes it); output N x 10 logits, no softmax: the
    loss has it, and the largest logit is the answer either way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 3)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(32, 64, 3)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.dropout1 = nn.Dropout(0.25)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(9216, 128)
        self.relu3 = nn.ReLU()
        self.dropout2 = nn.Dropout(0.5)
        self.fc2 = nn.Linear(128, 10)


class LeNet(nn.Sequential):
    """A LeNet-5 without biases: 44,190 weights, so few that quantization at low bits has something to break.

    Input and output as MnistNet's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, bias=False)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5, bias=False)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(256, 120, bias=False)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84, bias=False)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, 10, bias=False)


BY_NAME = {"mnist_cnn": MnistNet, "lenet": LeNet}


def torchvision_model(name: str, seed: int = 0) -> nn.Module:
    """torchvision's network `name` ("mobilenet_v2", "resnet18") with random weights from `seed`, in eval mode.

    Random weights cost what trained ones cost, so they serve for timing and for counting, never for accuracy.
    """
    torchvision = import_torchvision()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return torchvision.models.get_model(name, weights=None).eval()


def import_torchvision():
    """torchvision, also where its compiled operators were built for a CUDA torch and this torch is a CPU build.

    There the plain import fails because its Python part registers rules for two operators that do not exist.
    Declaring them first lets models, transforms and data sets work; calling nms still fails, as it should.
    """
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        library = torch.library.Library("torchvision", "DEF")
        library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _kept_alive.append(library)  # the declarations go when the library object goes
        import torchvision
    return torchvision


_kept_alive: list = []
