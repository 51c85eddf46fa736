"""Plausible wrong answers to the exercises on evaluation, and what each is told."""

import math

import torch


def frechet_diagonal__means_only(a, b):
    return (a.mean(0) - b.mean(0)).square().sum()


def frechet_diagonal__widths_only(a, b):
    return (a.std(0) - b.std(0)).square().sum()


def frechet_diagonal__variances(a, b):
    return ((a.mean(0) - b.mean(0)).square() + (a.var(0) - b.var(0)).square()).sum()


def frechet_diagonal__mean_of_features(a, b):
    return ((a.mean(0) - b.mean(0)).square() + (a.std(0) - b.std(0)).square()).mean()


def frechet_diagonal__root(a, b):
    return ((a.mean(0) - b.mean(0)).square() + (a.std(0) - b.std(0)).square()).sum().sqrt()


def frechet_diagonal__all_values_together(a, b):
    return (a.mean() - b.mean()) ** 2 + (a.std() - b.std()) ** 2


def frechet_diagonal__not_squared(a, b):
    return ((a.mean(0) - b.mean(0)).abs() + (a.std(0) - b.std(0)).abs()).sum()


def frechet_diagonal__one_a_feature(a, b):
    return (a.mean(0) - b.mean(0)).square() + (a.std(0) - b.std(0)).square()


def frechet_diagonal__scaled(a, b):
    return 2 * ((a.mean(0) - b.mean(0)).square() + (a.std(0) - b.std(0)).square()).sum()


def kernel(x, y, power=3, width=3.0, plus=1.0):
    return (x @ y.T / width + plus) ** power


def unbiased(x, **how):
    k, n = kernel(x, x, **how), len(x)
    return (k.sum() - k.trace()) / (n * (n - 1))


def kernel_distance__with_the_diagonal(a, b):
    return kernel(a, a).mean() + kernel(b, b).mean() - 2 * kernel(a, b).mean()


def kernel_distance__diagonal_counted(a, b):
    def within(x):
        k = kernel(x, x)
        return (k - torch.diag(k.diag())).mean()

    return within(a) + within(b) - 2 * kernel(a, b).mean()


def kernel_distance__across_once(a, b):
    return unbiased(a) + unbiased(b) - kernel(a, b).mean()


def kernel_distance__across_added(a, b):
    return unbiased(a) + unbiased(b) + 2 * kernel(a, b).mean()


def kernel_distance__linear(a, b):
    return unbiased(a, power=1) + unbiased(b, power=1) - 2 * kernel(a, b, power=1).mean()


def kernel_distance__not_divided(a, b):
    return unbiased(a, width=1) + unbiased(b, width=1) - 2 * kernel(a, b, width=1).mean()


def kernel_distance__no_one(a, b):
    return unbiased(a, plus=0) + unbiased(b, plus=0) - 2 * kernel(a, b, plus=0).mean()


def kernel_distance__root(a, b):
    return (unbiased(a) + unbiased(b) - 2 * kernel(a, b).mean()).sqrt()


def kernel_distance__matrix(a, b):
    return kernel(a, a)


def kernel_distance__halved(a, b):
    return (unbiased(a) + unbiased(b) - 2 * kernel(a, b).mean()) / 2


def rows_of(labels, c):
    return (labels == c).nonzero()[:, 0]


def rows_per_class__first(labels, number, generator):
    return torch.cat([rows_of(labels, c)[:number] for c in labels.unique()])


def rows_per_class__with_putting_back(labels, number, generator):
    rows = [rows_of(labels, c) for c in labels.unique()]
    return torch.cat([r[torch.randint(len(r), (number,), generator=generator)] for r in rows])


def rows_per_class__any(labels, number, generator):
    return torch.randperm(len(labels), generator=generator)[: 3 * number]


def rows_per_class__labels(labels, number, generator):
    return labels.unique().repeat_interleave(number)


def rows_per_class__own_dice(labels, number, generator):
    rows = [rows_of(labels, c) for c in labels.unique()]
    return torch.cat([r[torch.randperm(len(r))[:number]] for r in rows])


def rows_per_class__one_seed(labels, number, generator):
    generator = torch.Generator().manual_seed(0)
    rows = [rows_of(labels, c) for c in labels.unique()]
    return torch.cat([r[torch.randperm(len(r), generator=generator)[:number]] for r in rows])


def rows_per_class__order_not_rows(labels, number, generator):
    sizes = [len(rows_of(labels, c)) for c in labels.unique()]
    return torch.cat([torch.randperm(n, generator=generator)[:number] for n in sizes])


def rows_per_class__mask(labels, number, generator):
    return labels == 0


def terms(mean_q, variance_q, mean_p, variance_p):
    ratio = variance_q / variance_p
    return 0.5 * (ratio - 1 - math.log(ratio) + (mean_q - mean_p).square() / variance_p)


def gaussian_bits__nats(mean_q, variance_q, mean_p, variance_p):
    return terms(mean_q, variance_q, mean_p, variance_p).mean()


def gaussian_bits__sum(mean_q, variance_q, mean_p, variance_p):
    return terms(mean_q, variance_q, mean_p, variance_p).sum() / math.log(2)


def gaussian_bits__no_half(mean_q, variance_q, mean_p, variance_p):
    return 2 * terms(mean_q, variance_q, mean_p, variance_p).mean() / math.log(2)


def gaussian_bits__swapped(mean_q, variance_q, mean_p, variance_p):
    return terms(mean_p, variance_p, mean_q, variance_q).mean() / math.log(2)


def gaussian_bits__not_squared(mean_q, variance_q, mean_p, variance_p):
    ratio = variance_q / variance_p
    nats = 0.5 * (ratio - 1 - math.log(ratio) + (mean_q - mean_p) / variance_p)
    return nats.mean() / math.log(2)


def gaussian_bits__divided_by_q(mean_q, variance_q, mean_p, variance_p):
    ratio = variance_q / variance_p
    nats = 0.5 * (ratio - 1 - math.log(ratio) + (mean_q - mean_p).square() / variance_q)
    return nats.mean() / math.log(2)


def gaussian_bits__squared_variances(mean_q, variance_q, mean_p, variance_p):
    return terms(mean_q, variance_q**2, mean_p, variance_p**2).mean() / math.log(2)


def gaussian_bits__sign_of_the_logarithm(mean_q, variance_q, mean_p, variance_p):
    ratio = variance_q / variance_p
    nats = 0.5 * (ratio - 1 + math.log(ratio) + (mean_q - mean_p).square() / variance_p)
    return nats.mean() / math.log(2)


def gaussian_bits__no_one(mean_q, variance_q, mean_p, variance_p):
    return (terms(mean_q, variance_q, mean_p, variance_p) + 0.5).mean() / math.log(2)


def gaussian_bits__means_only(mean_q, variance_q, mean_p, variance_p):
    return ((mean_q - mean_p).square() / (2 * variance_p)).mean() / math.log(2)


def gaussian_bits__one_a_value(mean_q, variance_q, mean_p, variance_p):
    return terms(mean_q, variance_q, mean_p, variance_p) / math.log(2)


def gaussian_bits__log10(mean_q, variance_q, mean_p, variance_p):
    return terms(mean_q, variance_q, mean_p, variance_p).mean() / math.log(10)


def nearer_share__farther(drawn, held_out):
    pairs = drawn[:, None] - held_out
    return ((pairs > 0).double() + (pairs == 0).double() / 2).mean()


def nearer_share__no_ties(drawn, held_out):
    return (drawn[:, None] < held_out).double().mean()


def nearer_share__full_ties(drawn, held_out):
    return (drawn[:, None] <= held_out).double().mean()


def nearer_share__count(drawn, held_out):
    pairs = drawn[:, None] - held_out
    return ((pairs < 0).double() + (pairs == 0).double() / 2).sum()


def nearer_share__means(drawn, held_out):
    return float(drawn.mean() < held_out.mean())


def nearer_share__against_the_mean(drawn, held_out):
    return (drawn < held_out.mean()).double().mean()


def nearer_share__one_a_picture(drawn, held_out):
    return (drawn[:, None] < held_out).double().mean(1)


def nearer_share__median(drawn, held_out):
    return (drawn < held_out.median()).double().mean()


WRONG = {
    frechet_diagonal__means_only: "only the means are compared: two clouds",
    frechet_diagonal__widths_only: "only the widths are compared",
    frechet_diagonal__variances: "the variances are compared",
    frechet_diagonal__mean_of_features: "this is the mean over the features",
    frechet_diagonal__root: "used squared, as the FID is",
    frechet_diagonal__all_values_together: "give `mean` and `std` the dimension 0",
    frechet_diagonal__not_squared: "the differences are not squared",
    frechet_diagonal__one_a_feature: "a sum over the features is wanted",
    frechet_diagonal__scaled: "for our two clouds it is",
    kernel_distance__with_the_diagonal: "leave the diagonal out",
    kernel_distance__diagonal_counted: "divide by N (N − 1)",
    kernel_distance__across_once: "it counts twice",
    kernel_distance__across_added: "makes them nearer",
    kernel_distance__linear: "lacks the power of 3",
    kernel_distance__not_divided: "not divided by D",
    kernel_distance__no_one: "lacks the + 1",
    kernel_distance__root: "below 0 there is no root",
    kernel_distance__matrix: "one number is wanted",
    kernel_distance__halved: "and yours",
    rows_per_class__first: "the first of each class",
    rows_per_class__with_putting_back: "a row came twice",
    rows_per_class__any: "of the three classes",
    rows_per_class__labels: "these are labels",
    rows_per_class__own_dice: "draws other rows",
    rows_per_class__one_seed: "every seed draws the same rows",
    rows_per_class__order_not_rows: "these are places within a class",
    rows_per_class__mask: "as int64, to index with",
    gaussian_bits__nats: "this is in nats",
    gaussian_bits__sum: "the sum over all values",
    gaussian_bits__no_half: "twice too large",
    gaussian_bits__swapped: "the two have changed places",
    gaussian_bits__not_squared: "difference of the means is not squared",
    gaussian_bits__divided_by_q: "it is p that pays",
    gaussian_bits__squared_variances: "taken for standard deviations",
    gaussian_bits__sign_of_the_logarithm: "the logarithm has the wrong sign",
    gaussian_bits__no_one: "the −1 is missing",
    gaussian_bits__means_only: "the variances differ, too",
    gaussian_bits__one_a_value: "the mean over all values is wanted",
    gaussian_bits__log10: "bits, and yours is",
    nearer_share__farther: "the chance of being *farther*",
    nearer_share__no_ties: "ties do not count",
    nearer_share__full_ties: "ties count in full",
    nearer_share__count: "a number of pairs",
    nearer_share__means: "only the means are compared: count",
    nearer_share__against_the_mean: "each is compared with the mean",
    nearer_share__one_a_picture: "one share is wanted",
    nearer_share__median: "and yours is",
}
