"""MNIST and COCO: mnist(split), normalize(images), scenes(...), coco(split), fetch(name).

digits          MNIST, from the first source that is available
digit_scenes    pictures of several digits, with boxes and masks
photos          COCO photographs with labelled objects
download        files with a known SHA-256, in WORKBOOK_DATA or from the Internet
idx_files       MNIST's file format
"""

from helpers.data.digit_scenes import SCENE_SIZE, Scene, scenes
from helpers.data.digits import MNIST_FILES, PIXEL_MEAN, PIXEL_STD, Images, mnist, normalize
from helpers.data.download import FILES, ChecksumError, credit, fetch
from helpers.data.idx_files import read_idx
from helpers.data.photos import Coco, Photo, coco, coco_names

__all__ = [
    "FILES",
    "MNIST_FILES",
    "PIXEL_MEAN",
    "PIXEL_STD",
    "SCENE_SIZE",
    "ChecksumError",
    "Coco",
    "Images",
    "Photo",
    "Scene",
    "coco",
    "coco_names",
    "credit",
    "fetch",
    "mnist",
    "normalize",
    "read_idx",
    "scenes",
]
