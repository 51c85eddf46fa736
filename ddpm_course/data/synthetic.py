"""Procedural flowers: a stand-in where there are neither data nor a network connection.

Number, shape and colour of the petals, the eye, the leaves and the background vary from image to
image. They are not photographs, so they can be shown and committed freely.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_course.rng import generator

# name, petals, tip sharpness (0 round .. 1 pointed), how deep petals are cut, petal colours
_SPECIES = (
    ("daisy", 14, 0.2, 0.75, ((0.98, 0.97, 0.93), (0.96, 0.90, 0.97))),
    ("sunflower", 18, 0.8, 0.55, ((0.99, 0.80, 0.10), (0.96, 0.62, 0.08))),
    ("poppy", 4, 0.0, 0.22, ((0.87, 0.13, 0.10), (0.95, 0.42, 0.16))),
    ("rose", 5, 0.0, 0.15, ((0.88, 0.24, 0.42), (0.97, 0.62, 0.70))),
    ("violet", 5, 0.3, 0.50, ((0.42, 0.25, 0.75), (0.66, 0.52, 0.90))),
    ("lily", 6, 0.9, 0.70, ((0.98, 0.88, 0.84), (0.97, 0.55, 0.30))),
    ("cornflower", 11, 0.6, 0.65, ((0.22, 0.38, 0.86), (0.45, 0.62, 0.97))),
    ("primrose", 5, 0.1, 0.38, ((0.99, 0.93, 0.52), (0.93, 0.45, 0.68))),
)
SPECIES = tuple(name for name, *_ in _SPECIES)


def synthetic_flowers(n: int, size: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """n flowers: (images u8[n,3,size,size], species i64[n] in 0..7).

    Image k depends on (seed, k) alone. Raises ValueError unless n ≥ 1 and size ≥ 8 pixels.
    """
    if n < 1 or size < 8:
        raise ValueError(f"Asked for {n} flowers of {size} pixels: at least 1 of 8 are needed.")
    images, labels = [], torch.empty(n, dtype=torch.int64)
    for k in range(n):
        draw = generator(seed, k)
        labels[k] = int(torch.randint(len(SPECIES), (), generator=draw))
        images.append(_flower(int(labels[k]), size, draw))
    return torch.stack(images), labels


def _flower(species: int, size: int, draw: torch.Generator) -> Tensor:
    _, petals, sharpness, cut, colours = _SPECIES[species]

    def uniform(low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=draw))

    fine = 2 * size  # painted at twice the size, then averaged, for soft edges
    axis = torch.linspace(-1, 1, fine)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    image = _background(x, y, uniform, draw)

    cx, cy = uniform(-0.18, 0.18), uniform(-0.22, 0.10)
    radius, turn = uniform(0.52, 0.82), uniform(0, 2 * math.pi)
    image = _stem(image, x, y, cx, cy, uniform)

    # Seen a little from the side, the flower is an ellipse.
    tilt, squeeze = uniform(0, math.pi), uniform(0.78, 1.0)
    dx, dy = x - cx, y - cy
    along = dx * math.cos(tilt) + dy * math.sin(tilt)
    across = (dy * math.cos(tilt) - dx * math.sin(tilt)) / squeeze
    r, theta = torch.hypot(along, across), torch.atan2(across, along)

    mix = uniform(0, 1)
    colour = torch.tensor(colours[0]) * (1 - mix) + torch.tensor(colours[1]) * mix
    colour = (colour + 0.05 * torch.randn(3, generator=draw)).clamp(0, 1)
    shadow = colour * torch.tensor([0.62, 0.55, 0.68])
    layers = 2 if petals > 10 or species == 3 else 1
    for layer in range(layers + (species == 3)):
        phase = petals * (theta - turn) / 2 + layer * math.pi / 2
        lobe = phase.cos().abs() ** (0.45 + 1.3 * sharpness)
        edge = radius * (1 - 0.22 * layer) * (1 - cut + cut * lobe)
        inside = _smooth((edge - r) * fine / 2)
        shade = 0.35 + 0.65 * (r / edge.clamp(min=1e-3)).clamp(0, 1)
        vein = 0.9 + 0.1 * (6 * phase).cos() * (1 - sharpness / 2)
        rim = 1 - 0.45 * torch.exp(-(((edge - r) / (0.05 * radius)) ** 2))
        petal = (shadow[:, None, None] * (1 - shade) + colour[:, None, None] * shade) * vein
        petal = petal * (0.75 + 0.25 * lobe) * (rim if layers > 1 or petals < 8 else 1)
        image = image * (1 - inside) + petal.clamp(0, 1) * inside

    image = _eye(image, r, theta, radius * uniform(0.16, 0.30), species, draw)
    small = F.avg_pool2d(image[None], 2)[0]
    return (small.clamp(0, 1) * 255).round().to(torch.uint8)


def _smooth(pixels: Tensor) -> Tensor:
    """0 outside, 1 inside, over about one pixel of distance to an edge."""
    return (pixels + 0.5).clamp(0, 1)


def _background(x: Tensor, y: Tensor, uniform, draw: torch.Generator) -> Tensor:
    """Out-of-focus foliage, soil or sky: a gradient with soft blobs of light, f[3,H,W]."""
    tops = torch.tensor(
        [[0.10, 0.26, 0.10], [0.30, 0.46, 0.22], [0.50, 0.66, 0.82], [0.16, 0.14, 0.10]]
    )
    ends = torch.tensor(
        [[0.03, 0.10, 0.05], [0.09, 0.24, 0.08], [0.25, 0.42, 0.24], [0.06, 0.09, 0.04]]
    )
    kind = int(torch.randint(len(tops), (), generator=draw))
    share = ((y + 1) / 2)[None]
    image = tops[kind][:, None, None] * (1 - share) + ends[kind][:, None, None] * share
    for _ in range(7):
        width = uniform(0.12, 0.45)
        distance = ((x - uniform(-1, 1)) ** 2 + (y - uniform(-1, 1)) ** 2) / width**2
        light = uniform(-0.16, 0.22) * torch.exp(-distance)
        image = image + light[None] * torch.tensor([0.7, 1.0, 0.5])[:, None, None]
    return image.clamp(0, 1)


def _stem(image: Tensor, x: Tensor, y: Tensor, cx: float, cy: float, uniform) -> Tensor:
    """A stem from the flower to the lower edge, with a leaf to either side."""
    green = torch.tensor([0.22, 0.45, 0.14])[:, None, None] * uniform(0.7, 1.2)
    scale, bend = x.shape[0] / 2, uniform(-0.3, 0.3)
    middle = cx + bend * (y - cy).clamp(min=0) ** 2
    stem = _smooth((0.035 - (x - middle).abs()) * scale) * (y > cy)
    image = image * (1 - stem) + green * stem
    for side in (-1, 1):
        lx, ly, length = cx + side * uniform(0.25, 0.4), uniform(0.55, 0.8), uniform(0.25, 0.42)
        angle = side * uniform(-0.9, -0.3)
        u = (x - lx) * math.cos(angle) + (y - ly) * math.sin(angle)
        v = (y - ly) * math.cos(angle) - (x - lx) * math.sin(angle)
        half_width = 0.32 * length * (1 - (u / length) ** 2).clamp(min=0)
        leaf = _smooth((half_width - v.abs()) * scale) * (u.abs() < length)
        light = 0.8 + 0.35 * torch.exp(-((v / 0.02) ** 2)) + 0.4 * v
        image = image * (1 - leaf) + (green * light).clamp(0, 1) * leaf
    return image


def _eye(
    image: Tensor, r: Tensor, theta: Tensor, radius: float, species: int, draw: torch.Generator
) -> Tensor:
    """The middle: a dotted dome, brown for sunflower and poppy, yellow for the rest."""
    dark = SPECIES[species] in ("sunflower", "poppy")
    colour = torch.tensor([0.26, 0.15, 0.07] if dark else [0.93, 0.74, 0.16])
    colour = (colour + 0.04 * torch.randn(3, generator=draw)).clamp(0, 1)[:, None, None]
    dots = 0.86 + 0.14 * (9 * theta + 40 * r).sin() * (70 * r).sin()
    dome = (1.12 - 0.5 * (r / radius) ** 2).clamp(min=0.3)
    inside = _smooth((radius - r) * image.shape[1] / 2)
    return image * (1 - inside) + (colour * dots * dome).clamp(0, 1) * inside
