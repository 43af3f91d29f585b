"""MNIST on the laptop, on the Pi and without Internet: mnist(split), normalize(images).

digits      MNIST, from the first source that is available
download    files with a known size and SHA-256
idx_files   MNIST's file format
"""

from helpers.data.digits import PIXEL_MEAN, PIXEL_STD, Images, mnist, normalize
from helpers.data.download import FILES, ChecksumError, fetch
from helpers.data.idx_files import read_idx

__all__ = [
    "FILES",
    "PIXEL_MEAN",
    "PIXEL_STD",
    "ChecksumError",
    "Images",
    "fetch",
    "mnist",
    "normalize",
    "read_idx",
]
