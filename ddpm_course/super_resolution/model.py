"""Super-resolution by diffusion: images 4× larger in each dimension.

As in SR3 (Saharia et al. 2021, arXiv:2104.07636), the denoiser receives the low-resolution image z,
upsampled and concatenated with x_t. It estimates E[x_0 | x_t, z] instead of E[x_0 | x_t]. As in
cascaded diffusion (Ho et al. 2021, arXiv:2106.15282), noise is added to the low-resolution image,
and the network is conditioned on the level of this noise. So it also works on the samples of
another network. Schedule, loss and samplers are the same as without a low-resolution image.
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
"""The level for another network's samples, chosen by eye on flowers of `flowers32-tiny`: their
specks are gone, and their shapes have not changed yet.
"""
STEPS = 10
"""The default number of steps: fine detail needs fewer than a whole image."""
LARGEST = 512
"""The largest height and width in pixels of an upscaled image."""
BYTES_PER_PIXEL = 2_100  # of memory per pixel of the upscaled image, measured in float32


def upsampled(low_res: Tensor) -> Tensor:
    """f[B,3,H,W] -> f[B,3,4H,4W] by bicubic interpolation."""
    return F.interpolate(low_res, scale_factor=SCALE, mode="bicubic")


def downsampled(high_res: Tensor) -> Tensor:
    """f[B,3,4H,4W] -> f[B,3,H,W] by bicubic interpolation with antialiasing."""
    return F.interpolate(high_res, scale_factor=1 / SCALE, mode="bicubic", antialias=True)


def low_res_conditions(
    low_res: Tensor, level: Tensor, noise: Tensor, schedule: NoiseSchedule
) -> dict[str, Tensor]:
    """The network's conditions for low-resolution images f[B,3,H,W] in [-1, 1].

    `low_res` f[B,3,4H,4W] has these images, noised to time `level` i64[B] in 0..T and then
    upsampled; `level` is that time.
    """
    return {"low_res": upsampled(q_sample(low_res, level, noise, schedule)), "level": level}


def consistent(denoise: Denoise, low_res: Tensor) -> Denoise:
    """`denoise`, with each estimate moved towards consistency with low_res f[B,3,H,W].

    The difference between `low_res` and the downsampled estimate is upsampled and added
    (back-projection, Irani & Peleg 1991). One pass corrects nearly all of the error over large
    areas, and about a quarter of the error between neighbouring pixels, which upsampling blurs.
    """

    def corrected(x_t: Tensor, t: int | Tensor) -> Tensor:
        x0 = denoise(x_t, t)
        return (x0 + upsampled(low_res - downsampled(x0))).clamp(-1, 1)

    return corrected


def upscale(
    denoiser: Denoiser,
    low_res: Tensor,
    *,
    level: int = 0,
    steps: int = STEPS,
    seed: int = 0,
    first: int = 0,
    **settings,
) -> Tensor:
    """Images u8[N,3,H,W] at 4× the resolution: u8[N,3,4H,4W], on the CPU.

    Args:
        denoiser: one whose network takes `low_res` and `level`.
        low_res: the images u8[N,3,H,W].
        level: how much noise they get first, 0 to LEVELS. At 0 the result is kept `consistent`
            with them. A higher level lets the network correct images that may be wrong, such as
            another network's samples.
        steps, settings: go to `sample` (sampler, progress, ...).
        seed, first: image k depends on (seed, k) alone, and the images are numbered from `first`.

    Raises ValueError for another kind of network, an unfit `low_res`, a level out of range, more
    than LARGEST pixels in height or width, or NaN in the result.
    """
    if not denoiser.net.config["has_level"]:
        raise ValueError("This network takes no low-resolution image: use an upscaler.")
    most = min(LEVELS, denoiser.schedule.T)
    if not 0 <= level <= most:
        raise ValueError(f"The level runs from 0 to {most}, not {level}.")
    if (
        low_res.dtype != torch.uint8
        or low_res.ndim != 4
        or 0 in low_res.shape
        or low_res.shape[1] != 3
    ):
        raise ValueError(
            f"Low-resolution images are u8[N,3,H,W], not {low_res.dtype} of shape "
            f"{tuple(low_res.shape)}."
        )
    N, _, height, width = low_res.shape
    refuse_larger(height, width)
    device = denoiser.device
    stride = max(1, 2 ** (len(denoiser.net.config["channels"]) - 1) // SCALE)
    margins = (0, -width % stride, 0, -height % stride)  # the network takes multiples of its stride
    x = F.pad(to_unit(low_res).to(device), margins, mode="replicate")
    noise = randn_like(x, image_generators(seed, N, (DOUBT,), device, first))
    levels = torch.full((N,), level, device=device)
    cond = low_res_conditions(x, levels, noise, denoiser.schedule)
    denoise = denoiser.bind(**cond)
    high_res = sample(
        denoise if level else consistent(denoise, x),
        cond["low_res"].shape,
        denoiser.schedule,
        steps=steps,
        seed=seed,
        first=first,
        use=(DETAIL,),
        device=device,
        **settings,
    )
    return to_uint8(high_res).cpu()[..., : SCALE * height, : SCALE * width]


def refuse_larger(height: int, width: int) -> None:
    """Raise ValueError if 4× the height or width is more than LARGEST pixels."""
    if max(height, width) * SCALE > LARGEST:
        gigabytes = BYTES_PER_PIXEL * height * width * SCALE**2 / 1e9
        raise ValueError(
            f"{width} × {height} pixels would become {SCALE * width} × {SCALE * height}, which "
            f"takes about {gigabytes:.1f} GB of memory: at most {LARGEST // SCALE} × "
            f"{LARGEST // SCALE} are upscaled."
        )
