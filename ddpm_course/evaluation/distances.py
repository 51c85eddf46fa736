"""Distances between two sets of images, and from images to their nearest neighbours.

Distances work on features f[N,D], one row per image: raw pixels, or a network's features. Sums are
taken in float64 on the CPU, since not every device has float64.
"""

import torch
from torch import Tensor


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """|μ_a − μ_b|² + tr(S_a + S_b − 2 (S_a S_b)^½) between features f[N,D] and f[M,D]: the squared
    distance of two Gaussians with their means and covariances (Heusel et al. 2017,
    arXiv:1706.08500, Eq. 6; with Inception's features it is the FID).

    Biased: for two samples of one distribution it is above 0, and more so for fewer images, so
    compare only equal numbers. Raises ValueError for fewer than two rows or unequal widths.
    """
    a, b = _checked(a, b)
    means = (a.mean(0) - b.mean(0)).square().sum()
    # Centred and divided by √(N−1), AᵀA is the covariance. The trace of (AᵀA BᵀB)^½ is the sum of
    # the singular values of A Bᵀ, and so of its triangular factors: no matrix root is needed.
    a, b = ((x - x.mean(0)) / (len(x) - 1) ** 0.5 for x in (a, b))
    shared = torch.linalg.svdvals(torch.linalg.qr(a).R @ torch.linalg.qr(b).R.T).sum()
    return (means + a.square().sum() + b.square().sum() - 2 * shared).item()


def kernel_distance(a: Tensor, b: Tensor) -> float:
    """Squared maximum mean discrepancy between features f[N,D] and f[M,D] with the kernel
    (x·y/D + 1)³ (Bińkowski et al. 2018, arXiv:1801.01401, section 4; with Inception's features it
    is the KID).

    Unbiased (Gretton et al. 2012, Eq. 3): for two samples of one distribution its mean is 0, so it
    can be negative. Raises ValueError for fewer than two rows or unequal widths.
    """
    a, b = _checked(a, b)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        k = kernel(x, x)  # no image is compared with itself: the diagonal is left out
        return (k.sum() - k.trace()) / (len(x) * (len(x) - 1))

    return (within(a) + within(b) - 2 * kernel(a, b).mean()).item()


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images u8[N,3,H,W], one value per image: 10·log₁₀ of 255²
    over the mean squared error, f64[N] in dB; infinite where two are equal.
    """
    error = (a.cpu().double() - b.cpu().double()).square().mean((1, 2, 3))
    return 10 * (255**2 / error).log10()


def nearest(
    queries: Tensor, items: Tensor, number: int = 1, classes: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """For each query f[N,D] the nearest items f[M,D]: Euclidean distances f64[N,number], ascending,
    and rows i64[N,number], both on the CPU.

    With `classes`, labels i64[N] and i64[M], only items of the query's own class count. Raises
    ValueError where there are fewer than `number` of them.
    """
    if classes is not None:
        near = torch.empty(len(queries), number, dtype=torch.float64)
        index = torch.empty(len(queries), number, dtype=torch.int64)
        for kind in classes[0].unique():
            mine, among = ((labels == kind).nonzero()[:, 0] for labels in classes)
            near[mine], found = nearest(queries[mine], items[among], number)
            index[mine] = among[found]
        return near, index
    if number > len(items):
        raise ValueError(f"Some of the queries have fewer than {number} images to compare with.")
    queries, items = (rows.cpu().double().flatten(1) for rows in (queries, items))
    distance = torch.cdist(queries, items, compute_mode="donot_use_mm_for_euclid_dist")
    return distance.topk(number, largest=False)


def nearer_share(samples: Tensor, held_out: Tensor) -> float:
    """The chance that a random value of `samples` f[N] is below one of `held_out` f[M]; ties count
    half.

    Given distances to the nearest training image, it says whether samples are nearer to the
    training set than new photographs are: ½ is as near, 1 always nearer. It is the Mann-Whitney
    statistic U/NM, in the test of Meehan et al. 2020 (arXiv:2004.05675).
    """
    samples, held_out = samples.cpu(), held_out.cpu()
    below = (samples[:, None] < held_out).double() + 0.5 * (samples[:, None] == held_out)
    return below.mean().item()


def _checked(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if min(len(a), len(b)) < 2 or a.shape[1:] != b.shape[1:]:
        raise ValueError(
            f"Two sets of features need at least two rows each, of one width; got "
            f"{tuple(a.shape)} and {tuple(b.shape)}."
        )
    return a.cpu().double().flatten(1), b.cpu().double().flatten(1)
