"""Exercises of the notebook on faults: ten patients, each with one line of the package changed."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ddpm_course import lab
from ddpm_course.data.images import to_unit
from ddpm_course.diffusion import Denoiser
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.results import Wrong, close, require
from ddpm_course.lab.faults import Change, changed, source
from ddpm_course.lab.probes import PROBES, averaged_weights, sample_gaussian
from ddpm_course.rng import generator
from ddpm_course.schedules import cosine_schedule
from ddpm_course.training import loop
from ddpm_course.unet import norm_groups

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

PATIENTS = {
    1: Change("samplers.ddim", "pairwise(ts)", "((t, t - 1) for t in ts[:-1])"),
    2: Change("samplers.ddpm", " if s > 0 else mean", ""),
    3: Change("data.images.to_unit", "/ 127.5 - 1", "/ 255"),
    4: Change("samplers.ddpm", "step_variance**0.5", "step_variance"),
    5: Change(
        "schedules.NoiseSchedule.__post_init__", '"alphas_cumprod", table)',
        '"alphas_cumprod", table.bfloat16().double())',
    ),
    6: Change("samplers.dpm_solver_pp_2m", "denoise(x, t)", "denoise(x.clamp(-1, 1), t)"),
    7: Change(
        "training.ema.EMA.update",
        "min(self.decay, (1 + self.updates) / (10 + self.updates))",
        "self.decay",
    ),
    8: Change("diffusion.q_sample", "a * x0", "schedule.signal_noise(t - 1, x0)[0] * x0"),
    9: Change("training.loop.draw_times", "randint(1, T + 1,", "randint(1, T,"),
    10: Change("unet.norm_groups", "min(channels) >= 4 * g", "min(channels) >= g"),
}  # fmt: skip
"""What is wrong with each; the notebook does not show this."""
NOTICED = {
    1: "DDIM's spread",
    2: "single point",
    3: "black",
    4: "DDPM's spread",
    5: "noise at t = 1",
    6: "solver's spread",
    7: "memory of the start",
    8: "perfect loss",
    9: "largest t",
    10: "effect of t",
}
"""The probe that notices each of them."""


def patient(number: int) -> AbstractContextManager[None]:
    """Inside it the package is that patient."""
    return changed(_fault(number))


def examine(number: int, *names: str) -> None:
    """Prints the patient's answers to those probes beside the right ones.

    Without names it prints the question of every probe.
    """
    for name in names or PROBES:
        _require_probe(name)
        probe = PROBES[name]
        print(f"{name}: {probe.asks}")
        if names:
            with patient(number):
                value = probe.ask()
            mark = "✓ as it should be" if probe.right(value) else "✗"
            print(f"  {value:.4g}; right is {probe.low:g} to {probe.high:g}   {mark}")


def listing(number: int, where: str) -> None:
    """Prints a function of the package as the patient has it, without its docstring."""
    fault = _fault(number)
    text = source(where, *([fault] if where == fault.where else []))
    parts = text.split('"""')
    print(parts[0].rstrip() + parts[-1] if len(parts) == 3 else text)


def board() -> None:
    """Prints which probe notices which patient, and the test in the package like each probe."""
    print("patient " + " ".join(f"{number:>2}" for number in PATIENTS))
    ill = {number: _ill(fault) for number, fault in PATIENTS.items()}
    for name in PROBES:
        marks = " ".join(" ✗" if name in names else " ·" for names in ill.values())
        print(f"        {marks}   {name}")
    print("\nThe package's tests that ask the same, in tests/:")
    for name, probe in PROBES.items():
        print(f"{name:22} {probe.test.replace('::', ', ')}")


def _require_probe(name: str) -> None:
    if name not in PROBES:
        raise ValueError(f"There is no probe {name!r}: choose one of {', '.join(PROBES)}.")


def _fault(number: int) -> Change:
    if number not in PATIENTS:
        raise ValueError(f"There is no patient {number!r}: they are numbered 1 to {len(PATIENTS)}.")
    return PATIENTS[number]


def _ill(fault: Change) -> list[str]:
    """The names of the probes that fail in a package with this fault."""
    with changed(fault):
        return [name for name, probe in PROBES.items() if not probe.right(probe.ask())]


class _Echo(nn.Module):
    """Returns its input."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x


def _losses() -> Tensor:
    x0, noise = torch.randn(2, 50, 3, generator=generator(5))
    return Denoiser(_Echo(), cosine_schedule(5), "eps").loss(x0, torch.arange(50) % 5 + 1, noise)


def _ancestral_samples() -> Tensor:
    variances = ("fixed_small", "fixed_large")
    return torch.cat([sample_gaussian("ddpm", 0.5, 20, variance=name) for name in variances])


WIDTHS = [(32, 64, 64), (4, 8), (12, 18), (64, 96, 128, 192), (128, 256), (60, 90), (1024, 2048)]
BYTES = torch.arange(256).to(torch.uint8)
ANSWERS: dict[int, Callable[[], Tensor]] = {
    1: lambda: sample_gaussian("ddim", 0.5, 20),
    2: _ancestral_samples,
    3: lambda: torch.cat([to_unit(BYTES), to_unit(BYTES[7:99])]),
    4: _ancestral_samples,
    5: lambda: cosine_schedule(1000).alphas_cumprod[1:].logit(),
    6: lambda: sample_gaussian("dpm_solver_pp_2m", 20.0, 20),
    7: lambda: torch.tensor([averaged_weights(decay, 40) for decay in (0.5, 0.9, 0.999)]),
    8: _losses,
    9: lambda: torch.cat([loop.draw_times(500, T, generator(6)) for T in (3, 5, 1000)]),
    10: lambda: torch.tensor([norm_groups(widths) for widths in WIDTHS]),
}
"""More than a probe asks: here too a repaired package must answer as the healthy one does."""


def _heals(number: int) -> Callable[[Callable], None]:
    """A test that the repaired patient answers rightly, to its probe and beyond."""

    def test(f: Callable) -> None:
        repair, fault = f(), PATIENTS[number]
        require(
            isinstance(repair, Change),
            "A repair is a Change(where, before, after): the function, the wrong piece of it, and "
            "the right one.",
        )
        short = fault.where.endswith(f".{repair.where}")
        require(not short, f"Name the function in full, as {fault.where!r}.")
        elsewhere = f"{repair.where} is healthy in patient {number}. Look elsewhere."
        require(repair.where == fault.where, elsewhere)
        probe = PROBES[NOTICED[number]]
        with torch.random.fork_rng(devices=[]):
            healthy = ANSWERS[number]()
            try:
                with changed(fault, repair):
                    right = close(ANSWERS[number](), healthy, 1e-6)
                    value = math.nan if right else probe.ask()
            except ValueError as error:
                raise Wrong(f"The repair is not possible. {error}") from error
        require(
            right or probe.right(value),
            f"Patient {number} is not well yet. The probe '{NOTICED[number]}' returns {value:.4g}, "
            f"and {probe.low:g} to {probe.high:g} is right.",
        )
        require(
            right,
            f"The probe passes, but on other inputs {fault.where} does not answer as the healthy "
            "package does. Repair the rule, not the one case.",
        )

    return test


def _add(number: int, hint: str):
    return exercises.add(hint, test=_heals(number))


@_add(1, "Where does each step end, and where does the next one begin? The grid `ts` has both.")
def repair_1():
    """The wrong line in patient 1, and the right one."""
    return lab.Change("samplers.ddim", "((t, t - 1) for t in ts[:-1])", "pairwise(ts)")


@_add(2, "After the last step nothing removes noise any more.")
def repair_2():
    """The wrong line in patient 2, and the right one."""
    before = "mean + step_variance**0.5 * randn_like(x, generator)"
    return lab.Change("samplers.ddpm", before, before + " if s > 0 else mean")


@_add(3, "A byte of 0 must become −1, a byte of 255 must become 1.")
def repair_3():
    """The wrong line in patient 3, and the right one."""
    return lab.Change("data.images.to_unit", "/ 255", "/ 127.5 - 1")


@_add(4, "Noise is multiplied by a standard deviation.")
def repair_4():
    """The wrong line in patient 4, and the right one."""
    return lab.Change("samplers.ddpm", "step_variance * randn", "step_variance**0.5 * randn")


@_add(5, "Between 0.996 and 1 the format bfloat16 has no number at all.")
def repair_5():
    """The wrong line in patient 5, and the right one."""
    return lab.Change("schedules.NoiseSchedule.__post_init__", "table.bfloat16().double()", "table")


@_add(6, "Images are in [-1, 1]. Is x_t?")
def repair_6():
    """The wrong line in patient 6, and the right one."""
    return lab.Change("samplers.dpm_solver_pp_2m", "denoise(x.clamp(-1, 1), t)", "denoise(x, t)")


@_add(7, "At the n-th update no more than (1 + n)/(10 + n) of the old average should be kept.")
def repair_7():
    """The wrong line in patient 7, and the right one."""
    warm = "decay = min(self.decay, (1 + self.updates) / (10 + self.updates))"
    return lab.Change("training.ema.EMA.update", "decay = self.decay", warm)


@_add(8, "Signal and noise of one x_t belong to one time.")
def repair_8():
    """The wrong line in patient 8, and the right one."""
    return lab.Change("diffusion.q_sample", "schedule.signal_noise(t - 1, x0)[0]", "a")


@_add(9, "`torch.randint(low, high)` never draws `high`.")
def repair_9():
    """The wrong line in patient 9, and the right one."""
    return lab.Change("training.loop.draw_times", "torch.randint(1, T,", "torch.randint(1, T + 1,")


@_add(10, "GroupNorm subtracts each group's mean. The time shifts a channel as a whole.")
def repair_10():
    """The wrong line in patient 10, and the right one."""
    return lab.Change("unet.norm_groups", "min(channels) >= g", "min(channels) >= 4 * g")
