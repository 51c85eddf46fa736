"""Plausible wrong answers to the exercises on guidance, and what each is told."""

import torch


def hide_labels__zero(y, share, null_class, generator):
    return y.masked_fill(torch.rand(len(y), generator=generator) < share, 0)


def hide_labels__keeps_the_share(y, share, null_class, generator):
    return y.masked_fill(torch.rand(len(y), generator=generator) > share, null_class)


def hide_labels__first(y, share, null_class, generator):
    hidden = y.clone()
    hidden[: int(share * len(y))] = null_class
    return hidden


def hide_labels__own_dice(y, share, null_class, generator):
    return y.masked_fill(torch.rand(len(y)) < share, null_class)


def hide_labels__all_or_none(y, share, null_class, generator):
    return y.masked_fill(torch.rand(1, generator=generator) < share, null_class)


def hide_labels__another_species(y, share, null_class, generator):
    hidden = torch.rand(len(y), generator=generator) < share
    return torch.where(hidden, torch.randint(102, y.shape, generator=generator), y)


def hide_labels__floats(y, share, null_class, generator):
    return y.float().masked_fill(torch.rand(len(y), generator=generator) < share, null_class)


def hide_labels__normal_dice(y, share, null_class, generator):
    return y.masked_fill(torch.randn(len(y), generator=generator) < share, null_class)


def hide_labels__in_place(y, share, null_class, generator):
    y[torch.rand(len(y), generator=generator) < share] = null_class
    return y


def hide_labels__one_seed(y, share, null_class, generator):
    generator = torch.Generator().manual_seed(0)
    return y.masked_fill(torch.rand(len(y), generator=generator) < share, null_class)


def guide__swapped(x0_with_y, x0_without, scale):
    return x0_with_y + scale * (x0_without - x0_with_y)


def guide__sign(x0_with_y, x0_without, scale):
    return x0_without - scale * (x0_with_y - x0_without)


def guide__from_the_conditional(x0_with_y, x0_without, scale):
    return x0_with_y + scale * (x0_with_y - x0_without)


def guide__adds(x0_with_y, x0_without, scale):
    return x0_without + scale * x0_with_y


def guide__difference(x0_with_y, x0_without, scale):
    return scale * (x0_with_y - x0_without)


def guide__clips(x0_with_y, x0_without, scale):
    return (x0_without + scale * (x0_with_y - x0_without)).clamp(-1, 1)


def guide__clips_first(x0_with_y, x0_without, scale):
    a, b = x0_with_y.clamp(-1, 1), x0_without.clamp(-1, 1)
    return b + scale * (a - b)


def guide__average(x0_with_y, x0_without, scale):
    return (x0_with_y + x0_without) / 2


def sharpened__not_normal(density, class_share, scale, grid):
    return density * class_share**scale


def sharpened__sum(density, class_share, scale, grid):
    product = density * class_share**scale
    return product / product.sum()


def normal(values, grid):
    return values / torch.trapezoid(values, grid)


def sharpened__both(density, class_share, scale, grid):
    return normal((density * class_share) ** scale, grid)


def sharpened__density(density, class_share, scale, grid):
    return normal(density**scale * class_share, grid)


def sharpened__factor(density, class_share, scale, grid):
    return normal(density * class_share * scale, grid)


def sharpened__share_alone(density, class_share, scale, grid):
    return normal(class_share**scale, grid)


def sharpened__root(density, class_share, scale, grid):
    return normal(density * class_share ** (1 / scale), grid)


def within__tensor(plain, guided, low, high):
    return plain(torch.zeros(1), low)


def within__outside(plain, guided, low, high):
    def denoise(x_t, t):
        return plain(x_t, t) if low <= t <= high else guided(x_t, t)

    return denoise


def within__asks_both(plain, guided, low, high):
    def denoise(x_t, t):
        a, b = plain(x_t, t), guided(x_t, t)
        return b if low <= t <= high else a

    return denoise


def within__open_ends(plain, guided, low, high):
    def denoise(x_t, t):
        return guided(x_t, t) if low < t < high else plain(x_t, t)

    return denoise


def within__below_high(plain, guided, low, high):
    def denoise(x_t, t):
        return guided(x_t, t) if t <= high else plain(x_t, t)

    return denoise


def within__above_low(plain, guided, low, high):
    def denoise(x_t, t):
        return guided(x_t, t) if t >= low else plain(x_t, t)

    return denoise


def within__never(plain, guided, low, high):
    return plain


def within__average(plain, guided, low, high):
    def denoise(x_t, t):
        return (plain(x_t, t) + guided(x_t, t)) / 2

    return denoise


def stds(x0_guided, x0_with_y, dims=(1, 2, 3)):
    return x0_with_y.std(dims, keepdim=True), x0_guided.std(dims, keepdim=True)


def mixed(x0_guided, factor, mix):
    return mix * x0_guided * factor + (1 - mix) * x0_guided


def rescaled__upside_down(x0_guided, x0_with_y, mix):
    wanted, has = stds(x0_guided, x0_with_y)
    return mixed(x0_guided, has / wanted, mix)


def rescaled__batch(x0_guided, x0_with_y, mix):
    return mixed(x0_guided, x0_with_y.std() / x0_guided.std(), mix)


def rescaled__channels(x0_guided, x0_with_y, mix):
    wanted, has = stds(x0_guided, x0_with_y, (2, 3))
    return mixed(x0_guided, wanted / has, mix)


def rescaled__mix_turned(x0_guided, x0_with_y, mix):
    wanted, has = stds(x0_guided, x0_with_y)
    return mixed(x0_guided, wanted / has, 1 - mix)


def rescaled__no_mix(x0_guided, x0_with_y, mix):
    wanted, has = stds(x0_guided, x0_with_y)
    return x0_guided * wanted / has


def rescaled__mixes_with_the_conditional(x0_guided, x0_with_y, mix):
    return mix * x0_with_y + (1 - mix) * x0_guided


def rescaled__variances(x0_guided, x0_with_y, mix):
    wanted, has = stds(x0_guided, x0_with_y)
    return mixed(x0_guided, (wanted / has) ** 2, mix)


def rescaled__flat(x0_guided, x0_with_y, mix):
    wanted, has = x0_with_y.std((1, 2, 3)), x0_guided.std((1, 2, 3))
    return mixed(x0_guided, (wanted / has)[:, None], mix)


def rescaled__centred(x0_guided, x0_with_y, mix):
    wanted, has = stds(x0_guided, x0_with_y)
    middle = x0_guided.mean((1, 2, 3), keepdim=True)
    return middle + mixed(x0_guided - middle, wanted / has, mix)


WRONG = {
    hide_labels__zero: "you hide with label 0",
    hide_labels__keeps_the_share: "you hide what should be kept",
    hide_labels__first: "the first labels are hidden",
    hide_labels__own_dice: "the same generator hides other labels",
    hide_labels__all_or_none: "no label is hidden",
    hide_labels__another_species: "a label became another species",
    hide_labels__floats: "labels are int64",
    hide_labels__normal_dice: "with share 0.4",
    hide_labels__in_place: "you write into y",
    hide_labels__one_seed: "another generator hides the same labels",
    guide__swapped: "start from the guess without label",
    guide__sign: "runs away from the label",
    guide__from_the_conditional: "here 1 is the plain conditional guess",
    guide__adds: "the two are added",
    guide__difference: "this is the difference alone",
    guide__clips: "you clip here",
    guide__clips_first: "both are clipped before they are combined",
    guide__average: "it is not as in the formula",
    sharpened__not_normal: "its area is not 1",
    sharpened__sum: "you divide by the sum of the values",
    sharpened__both: "the power is on both factors",
    sharpened__density: "the power is on the density",
    sharpened__factor: "it is its power, since logarithms add",
    sharpened__share_alone: "what about p(x)?",
    sharpened__root: "it is another density",
    within__tensor: "a *function* denoise(x_t, t) is wanted",
    within__outside: "it is the wrong way round",
    within__asks_both: "both denoisers are asked",
    within__open_ends: "both ends belong to it",
    within__below_high: "below `low` the plain",
    within__above_low: "above `high` the plain",
    within__never: "between low and high, the guided denoiser",
    within__average: "neither of the two answers",
    rescaled__upside_down: "the ratio is upside down",
    rescaled__batch: "taken over the whole batch",
    rescaled__channels: "channel by channel",
    rescaled__mix_turned: "`mix` is the wrong way round",
    rescaled__no_mix: "mix it with the guided one",
    rescaled__mixes_with_the_conditional: "you mix with the conditional guess",
    rescaled__variances: "variances are compared",
    rescaled__flat: "it stopped with RuntimeError",
    rescaled__centred: "at mix = 0.7 it is not as in the formula",
}
