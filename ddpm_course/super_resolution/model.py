"""From a small picture to one four times as large, by diffusion.

As in SR3 (Saharia et al. 2021, arXiv:2104.07636), the denoiser is shown the small picture, enlarged
and stacked onto the noisy large one: E[x_0 | x_t, z] in place of E[x_0 | x_t]. As in cascaded
diffusion (Ho et al. 2021, arXiv:2106.15282), noise is added to the small picture and the network
told how much, so that it also serves small pictures that another network drew. Schedule, loss and
samplers are this course's own, the same as without a small picture.

Shapes: small pictures are f[B,3,H,W] or u8[B,3,H,W], large ones four times as high and wide.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ddpm_course.data.images import to_uint8, to_unit
from ddpm_course.diffusion import Denoise, Denoiser, q_sample
from ddpm_course.rng import DETAIL, DOUBT, image_generators, randn_like
from ddpm_course.samplers import sample
from ddpm_course.schedules import NoiseSchedule
from ddpm_course.super_resolution.pairs import SCALE

LEVELS = 200
"""The noisiest level that a network is trained on, as a time of its schedule; 0 is no noise."""
DRAWN = 40
"""The level for pictures that another network drew: chosen by eye on flowers of `flowers32-tiny`,
where their specks are gone and their shapes not yet others.
"""
STEPS = 10
"""Steps that enlarging takes: detail settles sooner than what a picture shows."""
LARGEST = 512
"""Pixels a side of the largest picture that is made."""
BYTES_PER_PIXEL = 2_100  # of memory for each pixel of the large picture, measured in float32


def upsampled(small: Tensor) -> Tensor:
    """f[B,3,H,W] -> f[B,3,4H,4W] by bicubic interpolation: all that the small picture knows."""
    return F.interpolate(small, scale_factor=SCALE, mode="bicubic")


def downsampled(large: Tensor) -> Tensor:
    """f[B,3,4H,4W] -> f[B,3,H,W] by bicubic interpolation with antialiasing."""
    return F.interpolate(large, scale_factor=1 / SCALE, mode="bicubic", antialias=True)


def conditions(
    small: Tensor, level: Tensor, noise: Tensor, schedule: NoiseSchedule
) -> dict[str, Tensor]:
    """What the network is told of small pictures f[B,3,H,W] in [-1, 1]: them, with as much noise as
    time `level` i64[B] in 0..T has, enlarged; and the level.
    """
    return {"low_res": upsampled(q_sample(small, level, noise, schedule)), "level": level}


def consistent(denoise: Denoise, small: Tensor) -> Denoise:
    """`denoise`, whose every estimate is moved towards agreement with the small pictures
    f[B,3,H,W]: what its reduced picture lacks of them is enlarged and added (back-projection,
    Irani & Peleg 1991). One pass mends nearly all of what is wrong over large areas, and about a
    quarter of what is wrong from one pixel to the next, which enlarging blurs.

    A sampler does not know of it, no more than of guidance.
    """

    def moved(x_t: Tensor, t: int | Tensor) -> Tensor:
        x0 = denoise(x_t, t)
        return (x0 + upsampled(small - downsampled(x0))).clamp(-1, 1)

    return moved


def upscale(
    denoiser: Denoiser,
    small: Tensor,
    *,
    level: int = 0,
    steps: int = STEPS,
    seed: int = 0,
    first: int = 0,
    **settings,
) -> Tensor:
    """Pictures u8[N,3,H,W] four times as large, u8[N,3,4H,4W], on the CPU.

    Args:
        denoiser: one whose network reads `low_res` and `level`.
        small: the pictures u8[N,3,H,W].
        level: how much noise they get first, 0 to LEVELS. At 0 they are believed: the large
            pictures are held to them by `consistent`. The higher it is, the less: for what may be
            wrong, such as another network's drawings.
        steps, settings: go to `sample` (sampler, progress, ...).
        seed, first: image k depends on (seed, k) alone, and the images are numbered from `first`.

    Raises ValueError for another kind of network, small pictures that are none, a level out of
    range, more than LARGEST pixels a side, or weights that answer NaN.
    """
    if not denoiser.net.config["has_level"]:
        raise ValueError("This network draws pictures of its own: enlarging needs an upscaler.")
    if not 0 <= level <= min(LEVELS, denoiser.schedule.T):
        raise ValueError(
            f"The level runs from 0 to {min(LEVELS, denoiser.schedule.T)}, not {level}."
        )
    if small.dtype != torch.uint8 or small.ndim != 4 or small.shape[1] != 3 or not small.numel():
        raise ValueError(
            f"Small pictures are u8[N,3,H,W], not {small.dtype} of shape {tuple(small.shape)}."
        )
    N, _, height, width = small.shape
    refuse_larger(height, width)
    device = denoiser.device
    multiple = max(1, 2 ** (len(denoiser.net.config["channels"]) - 1) // SCALE)
    margins = (0, -width % multiple, 0, -height % multiple)  # the network halves whole pictures
    x = F.pad(to_unit(small).to(device), margins, mode="replicate")
    doubt = randn_like(x, image_generators(seed, N, (DOUBT,), device, first))
    told = conditions(x, torch.full((N,), level, device=device), doubt, denoiser.schedule)
    denoise = denoiser.bind(**told)
    large = sample(
        denoise if level else consistent(denoise, x),
        told["low_res"].shape,
        denoiser.schedule,
        steps=steps,
        seed=seed,
        first=first,
        use=(DETAIL,),
        device=device,
        **settings,
    )
    if not large.isfinite().all():
        raise ValueError(
            "The pictures came out as NaN: the network's weights are damaged, or bfloat16 is too "
            "coarse for them."
        )
    return to_uint8(large).cpu()[..., : SCALE * height, : SCALE * width]


def refuse_larger(height: int, width: int) -> None:
    """Raise ValueError for small pictures whose large ones have more than LARGEST pixels a side."""
    if max(height, width) * SCALE > LARGEST:
        gigabytes = BYTES_PER_PIXEL * height * width * SCALE**2 / 1e9
        raise ValueError(
            f"{width} × {height} pixels would become {SCALE * width} × {SCALE * height}, which "
            f"takes about {gigabytes:.1f} GB of memory: at most {LARGEST // SCALE} a side are "
            "enlarged."
        )
