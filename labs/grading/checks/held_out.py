"""The grader's own images: test images, moved and made a little noisy with a secret seed.

If the grader has only the embedded 5,000 images, its test images are training images of the whole
MNIST: a student who downloaded MNIST has trained on the originals.
"""

from functools import lru_cache

import numpy as np

from helpers.data import mnist, normalize


@lru_cache
def images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` normalized images, float32 N x 1 x 28 x 28, and their digits, int64."""
    generator = np.random.default_rng(seed)
    test = mnist("test")
    chosen = generator.choice(len(test.images), count, replace=False)
    shifts = generator.integers(-1, 2, (count, 2))
    rolled = [np.roll(test.images[i], shift, axis=(0, 1)) for i, shift in zip(chosen, shifts)]
    moved = np.stack(rolled).astype(np.float32)
    noisy = np.clip(moved + generator.normal(0, 6, moved.shape), 0, 255).astype(np.uint8)
    return normalize(noisy), test.labels[chosen]


def own_code(seed: int) -> np.ndarray:
    """The class that stands for each digit in the student's submissions, as in the notebooks."""
    return np.random.default_rng(seed).permutation(10)
