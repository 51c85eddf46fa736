"""Exercises of the notebook on faults: ten patients, each with one line of the package changed."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ddpm_course.data.images import to_unit
from ddpm_course.diffusion import Denoiser
from ddpm_course.exercises.checking import Exercises, Wrong, close, require
from ddpm_course.lab.faults import Change, changed, source
from ddpm_course.lab.probes import PROBES, averaged_weights, sample_gaussian, sampled_times
from ddpm_course.rng import generator
from ddpm_course.schedules import cosine_schedule
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
    9: Change("training.loop._gradients", "randint(1, T + 1,", "randint(1, T,"),
    10: Change("unet.norm_groups", "min(channels) >= 4 * g", "min(channels) >= g"),
}  # fmt: skip
"""What is wrong with each; the notebook does not show this."""


def patient(number: int) -> AbstractContextManager[None]:
    """Inside it the package is that patient."""
    return changed(_fault(number))


def examine(number: int, *names: str) -> None:
    """Asks the patient the probes of those names, and prints the answers beside what is right.
    Without names it prints what each of them asks.
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
    """Asks every probe of every patient: prints who notices whom, and the tests they stand for."""
    print("patient " + " ".join(f"{number:>2}" for number in PATIENTS))
    answers = {number: _ill(_fault(number)) for number in PATIENTS}
    for name in PROBES:
        marks = " ".join(" ✗" if name in ill else " ·" for ill in answers.values())
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


def _ill(*changes: Change) -> dict[str, float]:
    """What the probes say that are not right with these changes made."""
    with changed(*changes):
        answers = {name: probe.ask() for name, probe in PROBES.items()}
    return {name: value for name, value in answers.items() if not PROBES[name].right(value)}


class _Echo(nn.Module):
    """Answers with what it is shown."""

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return x


def _losses() -> Tensor:
    denoiser = Denoiser(_Echo(), cosine_schedule(5), "eps")
    x0, noise = torch.randn(2, 50, 3, generator=generator(5))
    return denoiser.loss(x0, torch.arange(50) % 5 + 1, noise)


def _log_snr() -> Tensor:
    return cosine_schedule(1000).alphas_cumprod[1:].logit()


WIDTHS = [(32, 64, 64), (4, 8), (12, 18), (64, 96, 128, 192), (128, 256), (60, 90), (1024, 2048)]
ANSWERS: dict[int, Callable[[], Tensor]] = {
    1: lambda: sample_gaussian("ddim", 0.5, 20),
    2: lambda: sample_gaussian("ddpm", 0.5, 20),
    3: lambda: to_unit(torch.arange(256).to(torch.uint8)),
    4: lambda: sample_gaussian("ddpm", 0.5, 20),
    5: _log_snr,
    6: lambda: sample_gaussian("dpm_solver_pp_2m", 20.0, 20),
    7: lambda: torch.tensor([averaged_weights(0.5, 12), averaged_weights(0.999, 12)]),
    8: _losses,
    9: lambda: torch.tensor(sampled_times()),
    10: lambda: torch.tensor([norm_groups(widths) for widths in WIDTHS]),
}
"""More than a probe asks: what a repaired package must answer as the healthy one does."""


def _mends(number: int) -> Callable[[Callable], None]:
    """A test that after the repair the patient's answers are right, to all probes and beyond."""

    def test(f: Callable) -> None:
        repair = f()
        require(
            isinstance(repair, Change),
            "a repair is a Change(where, before, after): the function, the piece of it that is "
            "wrong, and what should stand there.",
        )
        fault = _fault(number)
        require(
            repair.where == fault.where,
            f"{repair.where} is as healthy in patient {number} as in the package: look elsewhere.",
        )
        try:
            with changed(fault, repair):
                pass
        except ValueError as error:
            raise Wrong(f"the repair cannot be made. {error}") from error
        for name, value in _ill(fault, repair).items():
            raise Wrong(
                f"patient {number} is not well yet: the probe '{name}' says {value:.4g}, and right "
                f"is {PROBES[name].low:g} to {PROBES[name].high:g}."
            )
        with torch.random.fork_rng(devices=[]):
            healthy = ANSWERS[number]()
            with changed(fault, repair):
                answer = ANSWERS[number]()
        require(
            close(answer, healthy, 1e-6),
            f"every probe is content, but on other inputs {fault.where} does not answer as the "
            "healthy package does: mend the rule, not the one case.",
        )

    return test


def _add(number: int, hint: str):
    return exercises.add(_mends(number), hint)


@_add(1, "Where does each step end, and where does the next one begin? The grid `ts` has both.")
def repair_1():
    """The line that is wrong in patient 1, and what should stand there."""
    return Change("samplers.ddim", "((t, t - 1) for t in ts[:-1])", "pairwise(ts)")


@_add(2, "After the last step nothing comes that could take noise away.")
def repair_2():
    """The line that is wrong in patient 2, and what should stand there."""
    before = "mean + step_variance**0.5 * randn_like(x, generator)"
    return Change("samplers.ddpm", before, before + " if s > 0 else mean")


@_add(3, "A byte of 0 must become −1, a byte of 255 must become 1.")
def repair_3():
    """The line that is wrong in patient 3, and what should stand there."""
    return Change("data.images.to_unit", "/ 255", "/ 127.5 - 1")


@_add(4, "Noise is multiplied by a standard deviation.")
def repair_4():
    """The line that is wrong in patient 4, and what should stand there."""
    return Change("samplers.ddpm", "step_variance * randn_like", "step_variance**0.5 * randn_like")


@_add(5, "Between 0.996 and 1 the format bfloat16 has no number at all.")
def repair_5():
    """The line that is wrong in patient 5, and what should stand there."""
    return Change("schedules.NoiseSchedule.__post_init__", "table.bfloat16().double()", "table")


@_add(6, "Pictures lie in [-1, 1]. Does x_t?")
def repair_6():
    """The line that is wrong in patient 6, and what should stand there."""
    return Change("samplers.dpm_solver_pp_2m", "denoise(x.clamp(-1, 1), t)", "denoise(x, t)")


@_add(7, "At the n-th update no more than (1 + n)/(10 + n) of the old average should be kept.")
def repair_7():
    """The line that is wrong in patient 7, and what should stand there."""
    warm = "decay = min(self.decay, (1 + self.updates) / (10 + self.updates))"
    return Change("training.ema.EMA.update", "decay = self.decay", warm)


@_add(8, "Signal and noise of one x_t belong to one time.")
def repair_8():
    """The line that is wrong in patient 8, and what should stand there."""
    return Change("diffusion.q_sample", "schedule.signal_noise(t - 1, x0)[0]", "a")


@_add(9, "`torch.randint(low, high)` never draws `high`.")
def repair_9():
    """The line that is wrong in patient 9, and what should stand there."""
    return Change("training.loop._gradients", "torch.randint(1, T,", "torch.randint(1, T + 1,")


@_add(10, "GroupNorm takes from each group its own mean. The time shifts a channel as a whole.")
def repair_10():
    """The line that is wrong in patient 10, and what should stand there."""
    return Change("unet.norm_groups", "min(channels) >= g", "min(channels) >= 4 * g")
