"""Wrong repairs: another function, a piece that is not there, a repair that does not help."""

from ddpm_course.lab.faults import Change


def repair_1__elsewhere():
    return Change("schedules.timesteps", "return", "return")


def repair_1__from_the_end():
    return Change("samplers.ddim", "((t, t - 1) for t in ts[:-1])", "((t, t - 2) for t in ts[:-2])")


def repair_2__no_noise_at_all():
    return Change("samplers.ddpm", "step_variance**0.5 * randn_like(x, generator)", "0")


def repair_2__text():
    return "add no noise at the last step"


def repair_3__half():
    return Change("data.images.to_unit", "/ 255", "/ 127.5")


def repair_4__squared():
    return Change("samplers.ddpm", "step_variance * randn", "step_variance**2 * randn")


def repair_4__not_there():
    return Change("samplers.ddpm", "sigma**2", "sigma")


def repair_5__half_precision():
    return Change("schedules.NoiseSchedule.__post_init__", ".bfloat16()", ".half()")


def repair_7__slower():
    return Change("training.ema.EMA.update", "decay = self.decay", "decay = self.decay**0.5")


def repair_6__both():
    return Change("samplers.dpm_solver_pp_2m", "x.clamp(-1, 1)", "x.clamp(-2, 2)")


def repair_7__no_average():
    return Change("training.ema.EMA.update", "decay = self.decay", "decay = 0.0")


def repair_8__both_off():
    return Change("diffusion.q_sample", "b * noise", "schedule.signal_noise(t - 1, x0)[1] * noise")


def repair_9__from_0():
    return Change("training.loop._gradients", "torch.randint(1, T,", "torch.randint(0, T,")


def repair_10__two():
    return Change("unet.norm_groups", "min(channels) >= g", "min(channels) >= 1 * g")


def repair_10__no_python():
    return Change("unet.norm_groups", "min(channels) >= g", "min(channels >= 4 * g")


def repair_3__black_alone():
    return Change("data.images.to_unit", "/ 255", "/ 255 - 1")


def repair_5__single_precision():
    return Change("schedules.NoiseSchedule.__post_init__", "table.bfloat16()", "table.float()")


def repair_6__wider():
    return Change("samplers.dpm_solver_pp_2m", "clamp(-1, 1)", "clamp(-3, 3)")


def repair_7__a_decay_of_its_own():
    return Change("training.ema.EMA.update", "decay = self.decay", "decay = 0.24")


def repair_9__the_last_alone():
    return Change("training.loop._gradients", "torch.randint(1, T,", "torch.randint(T, T + 1,")


def repair_10__two_channels():
    return Change("unet.norm_groups", "min(channels) >= g", "min(channels) >= 2 * g")


WRONG = {
    repair_1__elsewhere: "schedules.timesteps is as healthy in patient 1",
    repair_1__from_the_end: "patient 1 is not well yet: the probe 'DDIM's spread'",
    repair_2__no_noise_at_all: "patient 2 is not well yet: the probe 'DDPM's spread'",
    repair_2__text: "a repair is a Change(where, before, after)",
    repair_3__half: "patient 3 is not well yet: the probe 'black' says 0",
    repair_4__squared: "patient 4 is not well yet: the probe 'DDPM's spread'",
    repair_4__not_there: "`sigma**2` occurs 0 times in samplers.ddpm",
    repair_5__half_precision: "patient 5 is not well yet: the probe",
    repair_7__slower: "patient 7 is not well yet: the probe 'memory of the start'",
    repair_6__both: "patient 6 is not well yet: the probe 'solver's spread'",
    repair_7__no_average: "the probe 'memory of the start' says 0, and right is 0.013",
    repair_8__both_off: "patient 8 is not well yet: the probe 'perfect loss'",
    repair_9__from_0: "patient 9 is not well yet: the probe 'largest t'",
    repair_10__two: "patient 10 is not well yet: the probe 'effect of t'",
    repair_3__black_alone: "every probe is content, but on other inputs data.images.to_unit",
    repair_5__single_precision: "every probe is content, but on other inputs schedules.Noise",
    repair_6__wider: "every probe is content, but on other inputs samplers.dpm_solver_pp_2m",
    repair_7__a_decay_of_its_own: "every probe is content, but on other inputs training.ema.EMA",
    repair_9__the_last_alone: "every probe is content, but on other inputs training.loop._grad",
    repair_10__two_channels: "every probe is content, but on other inputs unet.norm_groups",
    repair_10__no_python: "unet.norm_groups would be no valid Python",
}
