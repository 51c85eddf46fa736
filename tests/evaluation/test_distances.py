import numpy as np
import pytest
import torch
from scipy import linalg, stats
from torchmetrics.functional.image import peak_signal_noise_ratio
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ddpm_course.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    nearer_share,
    nearest,
    psnr,
)


def rows(number, width, seed=0, scale=1.0, shift=0.0):
    draw = torch.Generator().manual_seed(seed)
    mix = torch.randn(width, width, generator=draw, dtype=torch.float64)
    return scale * torch.randn(number, width, generator=draw, dtype=torch.float64) @ mix + shift


class Flat(torch.nn.Module):
    """Pixels as features, for torchmetrics, which passes a byte image to it."""

    num_features = 12

    def forward(self, images):
        return images.flatten(1).float() / 100


def byte_images(number, seed):
    draw = torch.Generator().manual_seed(seed)
    low = 40 * seed
    return torch.randint(low, low + 90, (number, 3, 2, 2), generator=draw, dtype=torch.uint8)


def test_frechet_is_that_of_scipy():
    a, b = rows(50, 8), rows(70, 8, seed=1, scale=1.3, shift=0.4)
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    means = (a.mean(0) - b.mean(0)).square().sum().item()
    wanted = means + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(a, b) == pytest.approx(wanted, rel=1e-9)
    assert frechet_distance(b, a) == pytest.approx(wanted, rel=1e-9)


def test_both_are_those_of_torchmetrics():
    a, b = byte_images(60, 0), byte_images(60, 1)
    theirs = FrechetInceptionDistance(feature=Flat(), input_img_size=(3, 2, 2))
    kernel = KernelInceptionDistance(feature=Flat(), subsets=1, subset_size=60)
    for metric in (theirs, kernel):
        metric.update(a, real=True)
        metric.update(b, real=False)
    ours = Flat()(a), Flat()(b)
    assert frechet_distance(*ours) == pytest.approx(theirs.compute().item(), rel=1e-4)
    assert kernel_distance(*ours) == pytest.approx(kernel.compute()[0].item(), rel=1e-4)


def test_frechet_of_fewer_images_than_features_is_finite_and_zero_to_itself():
    a = rows(10, 64)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(a, a + 2) == pytest.approx(4 * 64, rel=1e-6)


def test_frechet_is_biased_and_the_kernel_distance_is_not():
    """Means over many pairs of draws from one distribution."""
    pairs = [(rows(20, 5, seed=k)[:10], rows(20, 5, seed=k)[10:]) for k in range(400)]
    frechet = [frechet_distance(a, b) for a, b in pairs]
    kernel = torch.tensor([kernel_distance(a, b) for a, b in pairs])
    assert np.mean(frechet) > 1
    assert kernel.mean().abs() < 3 * kernel.std() / len(pairs) ** 0.5
    assert (kernel < 0).float().mean() > 0.3


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
def test_distances_compute_in_double_precision_whatever_comes(distance):
    """Half-precision features far from 0 would cancel."""
    a, b = (rows(40, 6, seed=k, scale=0.05, shift=8).half() for k in (0, 1))
    assert distance(a, b) == pytest.approx(distance(a.double(), b.double()), rel=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize("shapes", [((1, 3), (5, 3)), ((5, 3), (5, 4))])
def test_distances_refuse_what_cannot_be_compared(distance, shapes):
    with pytest.raises(ValueError, match="at least two rows each, of one width"):
        distance(*(torch.zeros(shape) for shape in shapes))


def test_nearest_finds_the_nearest_in_order():
    items = torch.tensor([[0.0, 0], [3, 4], [6, 8], [100, 0]])
    distance, index = nearest(torch.tensor([[0.0, 0], [6, 8.5]]), items, 2)
    assert index.tolist() == [[0, 1], [2, 1]]
    assert distance.tolist() == pytest.approx(
        torch.tensor([[0, 5], [0.5, (9 + 4.5**2) ** 0.5]]).double()
    )


def test_nearest_is_exact_for_a_copy_far_from_the_origin():
    """|x|² + |y|² − 2x·y would leave a distance of 1e-3 here."""
    items = 1000 + rows(50, 30).float()
    distance, index = nearest(items[:7], items)
    assert index[:, 0].tolist() == list(range(7))
    assert distance.max() == 0


def test_nearest_within_the_class():
    items, classes = torch.tensor([[0.0], [1], [2], [3]]), torch.tensor([0, 1, 0, 1])
    _, index = nearest(torch.tensor([[0.1], [0.1]]), items, 1, (torch.tensor([0, 1]), classes))
    assert index.tolist() == [[0], [1]]
    with pytest.raises(ValueError, match="fewer than 3"):
        nearest(torch.zeros(1, 1), items, 3, (torch.tensor([0]), classes))


def test_nearer_share_is_the_mann_whitney_statistic():
    draw = torch.Generator().manual_seed(0)
    drawn, held_out = (torch.randint(9, (n,), generator=draw).double() for n in (30, 20))
    u = stats.mannwhitneyu(held_out.numpy(), drawn.numpy()).statistic
    assert nearer_share(drawn, held_out) == pytest.approx(u / 600)
    assert nearer_share(drawn, drawn) == 0.5
    assert nearer_share(torch.zeros(3), torch.ones(4)) == 1


def test_psnr_is_that_of_torchmetrics_for_each_image():
    a, b = byte_images(5, 0), byte_images(5, 1)
    wanted = [
        peak_signal_noise_ratio(x.double(), y.double(), data_range=255.0).item()
        for x, y in zip(a, b, strict=True)
    ]
    assert psnr(a, b).tolist() == pytest.approx(wanted, rel=1e-6)
    assert psnr(a, a).tolist() == [float("inf")] * 5
