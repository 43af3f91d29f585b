"""New variants of training images: shifted, rotated, scaled and sheared."""

import numpy as np
import torch
import torch.nn.functional as F


def augment(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Shift, rotate, scale and shear each image at random, like different handwriting.

    `images` is float N x 1 x 28 x 28 with background 0; the result has the same shape. The limits
    are 2 pixels, 12 degrees, 12 % and a shear of 0.15.
    """
    n = len(images)

    def uniform(limit: float) -> torch.Tensor:
        return (torch.rand(n, generator=generator) * 2 - 1) * limit

    angle = uniform(np.deg2rad(12))
    shear = uniform(0.15)
    scale_x = 1 + uniform(0.12)
    scale_y = 1 + uniform(0.12)
    cos = torch.cos(angle)
    sin = torch.sin(angle)
    shift = 2 / 14  # affine_grid counts from -1 to 1 over 28 pixels
    rows = [
        torch.stack([cos * scale_x, (shear * cos - sin) * scale_y, uniform(shift)], 1),
        torch.stack([sin * scale_x, (shear * sin + cos) * scale_y, uniform(shift)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
