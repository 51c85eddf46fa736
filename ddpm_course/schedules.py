"""How much noise there is at each time: β schedules, and the grids of times that samplers visit.

Time is counted as in the paper, t = 1..T, and t = 0 is clean data. (Most code counts from 0: its
t = 0 is our t = 1.) Everything about a schedule follows from one float64 table, ᾱ_t, the share of
the clean image's variance that is left at t:

    q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I)                           (DDPM, Eq. 4)

DDPM: Ho, Jain & Abbeel 2020, arXiv:2006.11239.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """ᾱ_0..ᾱ_T as a float64 CPU tensor f64[T+1]; everything else is computed from it.

    Not a module and not a buffer on purpose: `model.bfloat16()` must not reach it. In bfloat16,
    ᾱ_t of the usual schedule is exactly 1 for t = 1..10, so those steps would add no noise.

    Raises ValueError unless ᾱ_0 = 1 and ᾱ falls strictly, to 0 at T at the earliest.
    """

    alphas_cumprod: Tensor
    _copies: dict = field(default_factory=dict, repr=False)

    def __post_init__(self):
        table = torch.as_tensor(self.alphas_cumprod, dtype=torch.float64, device="cpu")
        if table.ndim != 1 or len(table) < 2:
            raise ValueError(
                f"A schedule is a table of T+1 values, ᾱ_0..ᾱ_T; got shape {tuple(table.shape)}."
            )
        if table[0] != 1 or not bool((table.diff() < 0).all()) or table[-1] < 0:
            raise ValueError("ᾱ must start at ᾱ_0 = 1 and fall at every step, never below 0.")
        object.__setattr__(self, "alphas_cumprod", table)

    @property
    def T(self) -> int:
        """Number of noising steps."""
        return len(self.alphas_cumprod) - 1

    @cached_property
    def betas(self) -> Tensor:
        """β_t = 1 − ᾱ_t / ᾱ_{t−1}, f64[T+1]; β_0 = 0 stands at t = 0, where no noise is added."""
        ratio = self.alphas_cumprod[1:] / self.alphas_cumprod[:-1]
        return torch.cat([torch.zeros(1, dtype=torch.float64), 1 - ratio])

    @cached_property
    def sqrt_alphas_cumprod(self) -> Tensor:
        """√ᾱ_t, f64[T+1]: the factor of the image in x_t."""
        return self.alphas_cumprod.sqrt()

    @cached_property
    def sqrt_one_minus_alphas_cumprod(self) -> Tensor:
        """√(1 − ᾱ_t), f64[T+1]: the standard deviation of the noise."""
        return (1 - self.alphas_cumprod).sqrt()

    @cached_property
    def snr(self) -> Tensor:
        """Signal-to-noise ratio ᾱ_t / (1 − ᾱ_t), f64[T+1]; infinite at t = 0."""
        return self.alphas_cumprod / (1 - self.alphas_cumprod)

    @cached_property
    def log_snr(self) -> Tensor:
        """Natural logarithm of the SNR, f64[T+1]; +∞ at t = 0, −∞ where ᾱ = 0.

        DPM-Solver's λ is half of it.
        """
        return self.snr.log()

    def signal_noise(
        self, t: int | Tensor, like: Tensor
    ) -> tuple[float, float] | tuple[Tensor, Tensor]:
        """√ᾱ_t and √(1−ᾱ_t), the factors of image and noise in x_t (Eq. 4), to multiply `like`.

        An int t gives two Python floats: samplers never wait for a device. A tensor t i64[B] gives
        two f[B,1,..] for `like` f[B,*], on its device, in float32 or better. Raises IndexError for
        a t outside 0..T, as far as that can be seen without waiting for a device.
        """
        tables = self.sqrt_alphas_cumprod, self.sqrt_one_minus_alphas_cumprod
        if isinstance(t, int):
            self._check_times(t, t)
            return tables[0][t].item(), tables[1][t].item()
        if t.device.type == "cpu":
            self._check_times(int(t.min()), int(t.max()))
        key = like.device, torch.promote_types(like.dtype, torch.float32)
        if key not in self._copies:  # one copy per device: a training step moves no table
            device, dtype = key
            self._copies[key] = [table.to(dtype).to(device) for table in tables]
        t, shape = t.to(like.device), (-1, *[1] * (like.ndim - 1))
        signal, noise = self._copies[key]
        return signal[t].view(shape), noise[t].view(shape)

    def _check_times(self, low: int, high: int) -> None:
        if low < 0 or high > self.T:
            raise IndexError(f"t must lie in 0..{self.T}, not {low if low < 0 else high}.")


def broadcast(values: Tensor, like: Tensor):
    """float64 values, 0-d or f64[N], as factors for `like` f[N,*]: a float, or f[N,1,..].

    Tensors come on like's device and in float32 at the least: half precision is for networks.
    """
    if values.ndim == 0:
        return values.item()
    dtype = torch.promote_types(like.dtype, torch.float32)
    return values.to(dtype).to(like.device).view(-1, *[1] * (like.ndim - 1))


def from_betas(betas: Tensor) -> NoiseSchedule:
    """The schedule with ᾱ_t = ∏_{i≤t} (1 − β_i), from β_1..β_T, f[T].

    Raises ValueError unless every β lies strictly between 0 and 1.
    """
    betas = torch.as_tensor(betas, dtype=torch.float64)
    if betas.ndim != 1 or len(betas) < 1:
        raise ValueError("A schedule needs at least one step: T must be 1 or more.")
    outside = ~((betas > 0) & (betas < 1))
    if outside.any():
        t = int(outside.nonzero()[0])
        raise ValueError(f"Every β must lie between 0 and 1, but β_{t + 1} is {betas[t]:g}.")
    return NoiseSchedule(torch.cat([torch.ones(1, dtype=torch.float64), (1 - betas).cumprod(0)]))


def linear_schedule(
    T: int = 1000, beta_start: float = 1e-4, beta_end: float = 2e-2
) -> NoiseSchedule:
    """β rises in a straight line from β_1 to β_T (DDPM, section 4).

    The two ends were chosen for T = 1000. With T = 350 they stop at ᾱ_T = 0.029, where 17 % of
    the image is left. Raises ValueError for T below 1 or above a million.
    """
    return from_betas(torch.linspace(beta_start, beta_end, _steps(T), dtype=torch.float64))


def cosine_schedule(T: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> NoiseSchedule:
    """ᾱ_t falls as cos², slowly at both ends (Nichol & Dhariwal 2021, arXiv:2102.09672, Eq. 17).

    β is clipped at `max_beta`; with the defaults this changes only β_T.
    """
    u = torch.arange(_steps(T) + 1, dtype=torch.float64) / T
    f = ((u + s) / (1 + s) * math.pi / 2).cos() ** 2
    return from_betas((1 - f[1:] / f[:-1]).clamp(max=max_beta))


def sigmoid_schedule(
    T: int = 1000, start: float = -3.0, end: float = 3.0, tau: float = 1.0
) -> NoiseSchedule:
    """ᾱ_t follows a sigmoid from `start` to `end`, scaled to run from 1 to 0 (Jabri et al. 2022,
    arXiv:2212.11972, Algorithm 1), and is kept above 1e-9 as there.
    """
    u = torch.arange(_steps(T) + 1, dtype=torch.float64) / T
    curve = torch.sigmoid(-(start + (end - start) * u) / tau)
    return NoiseSchedule(((curve - curve[-1]) / (curve[0] - curve[-1])).clamp(min=1e-9))


SCHEDULES: dict[str, Callable[..., NoiseSchedule]] = {
    "linear": linear_schedule,
    "cosine": cosine_schedule,
    "sigmoid": sigmoid_schedule,
}


def rescale_zero_terminal_snr(schedule: NoiseSchedule) -> NoiseSchedule:
    """Shift and stretch √ᾱ so that ᾱ_T = 0 while ᾱ_1 stays (Lin et al. 2024, arXiv:2305.08891,
    Algorithm 1).

    At T nothing is left of the image, so ε says nothing about it: use a network that predicts x0
    or v. Raises ValueError for T = 1.
    """
    if schedule.T == 1:
        raise ValueError("A schedule of one step cannot both keep ᾱ_1 and end in ᾱ_T = 0.")
    root = schedule.sqrt_alphas_cumprod
    stretched = (root[1:] - root[-1]) * root[1] / (root[1] - root[-1])
    return NoiseSchedule(torch.cat([root[:1], stretched]) ** 2)


def _trailing(schedule: NoiseSchedule, steps: int) -> list[int]:
    return [round(schedule.T * (steps - i) / steps) for i in range(steps)]


def _linspace(schedule: NoiseSchedule, steps: int) -> list[int]:
    return [round(t) for t in torch.linspace(schedule.T, 1, steps, dtype=torch.float64).tolist()]


def _leading(schedule: NoiseSchedule, steps: int) -> list[int]:
    stride = schedule.T // steps
    return [i * stride + 1 for i in reversed(range(steps))]


def _logsnr(schedule: NoiseSchedule, steps: int) -> list[int]:
    log_snr = schedule.log_snr[1:]
    if log_snr[-1].isinf():  # ᾱ_T = 0: the grid spans the finite values, and T itself comes first
        log_snr = torch.cat([log_snr[:-1], 2 * log_snr[-2:-1] - log_snr[-3:-2]])
    ts = torch.arange(1, schedule.T + 1)
    free = torch.ones(schedule.T, dtype=torch.bool)
    for target in torch.linspace(log_snr[-1], log_snr[0], steps, dtype=torch.float64):
        nearest = ts[(log_snr - target).abs().argmin()]
        distance = (ts - nearest).abs().masked_fill(~free, schedule.T)
        free[distance.argmin()] = False
    return ts[~free].flip(0).tolist()


SPACINGS: dict[str, Callable[[NoiseSchedule, int], list[int]]] = {
    "trailing": _trailing,
    "linspace": _linspace,
    "leading": _leading,
    "logsnr": _logsnr,
}


def timesteps(schedule: NoiseSchedule, steps: int, spacing: str = "trailing") -> list[int]:
    """The times that a sampler visits: steps + 1 strictly falling integers that end in 0.

    `trailing` starts at T and keeps equal strides down to 0; `linspace` runs evenly from T to 1;
    `logsnr` spaces log-SNR evenly, and a step that would fall on a taken t moves to the nearest
    free one. `leading` (diffusers' default) starts at (steps−1)·(T//steps)+1 and never visits T. So
    the network receives pure noise with the t of something cleaner, and global brightness suffers
    (Lin et al. 2024).

    Raises ValueError for an unknown spacing or steps outside 1..T.
    """
    if spacing not in SPACINGS:
        raise ValueError(f"Unknown spacing {spacing!r}: choose one of {', '.join(SPACINGS)}.")
    if not 1 <= steps <= schedule.T:
        raise ValueError(f"Sampling takes 1 to T = {schedule.T} steps, not {steps}.")
    return [*SPACINGS[spacing](schedule, steps), 0]


def _steps(T: int) -> int:
    if T < 1:
        raise ValueError(f"A schedule needs at least one step: T must be 1 or more, not {T}.")
    if T > 1_000_000:  # a damaged or hostile config.json must not fill the memory
        raise ValueError(f"A schedule has at most a million steps, not {T}.")
    return T
