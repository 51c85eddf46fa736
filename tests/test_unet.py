import pytest
import torch
from helpers import randomise
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.flop_counter import FlopCounterMode

from ddpm_course import PRESETS, Denoiser, SinusoidalTimeEmbedding, UNet, cosine_schedule, make_unet
from ddpm_course.layers import ResidualBlock, SelfAttention
from ddpm_course.unet import norm_groups


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("name", "parameters", "flops"),
    [
        ("tiny", 1_624_323, 727_859_200),
        ("small", 12_196_515, 10_121_920_512),
        ("base", 35_746_307, 46_740_799_488),
        ("large", 63_151_235, 23_561_502_720),
        ("upscaler", 2_089_571, 2062745600),
    ],
)
def test_presets_cost_what_the_course_says(name, parameters, flops):
    with torch.device("meta"):
        net = make_unet(name)
        x, t = torch.empty(1, *net.image_shape), torch.empty(1, dtype=torch.long)
        told = {"low_res": x, "level": t} if net.config["has_level"] else {}
        with FlopCounterMode(display=False) as counter:
            assert net(x, t, **told).shape == x.shape
    assert sum(p.numel() for p in net.parameters()) == parameters
    assert counter.get_total_flops() == flops


def test_time_embedding():
    embedding = SinusoidalTimeEmbedding(32)(torch.arange(1000))
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding.square().sum(1), torch.full((1000,), 16.0))
    torch.testing.assert_close(embedding[7, 0], torch.tensor(7.0).sin())
    torch.testing.assert_close(embedding[7, 16], torch.tensor(7.0).cos())
    torch.testing.assert_close(embedding[500, 15], torch.tensor(0.05).sin())  # slowest: 1/10000
    nearest = torch.cdist(embedding, embedding).fill_diagonal_(9).min()
    assert nearest > 0.1


@pytest.mark.parametrize(
    ("channels", "groups"),
    [
        ((32, 64, 64), 8),
        ((64, 96, 128, 192), 16),
        ((128, 256), 32),
        ((64, 512), 16),
        ((8, 24, 48), 2),
        ((4,), 1),
    ],
)
def test_groups_divide_every_width_and_hold_four_channels(channels, groups):
    assert norm_groups(channels) == groups
    net = UNet(channels, (), head_dim=None, image_size=16)
    size = 2 ** (len(channels) - 1)
    assert net(randn(2, 3, size, size), torch.tensor([0, 9])).shape == (2, 3, size, size)


@pytest.mark.parametrize("name", PRESETS)
def test_time_reaches_every_residual_branch(name):
    """Given the same input, going from t = 1 to T moves each branch by more than 10 %. With one
    channel a group the norm would subtract the time shift again, and nothing would move.
    """
    net = randomise(make_unet(name)).eval()
    emb = net.time_embedding(net.time_proj(torch.tensor([0, 999])))
    blocks = [m for m in net.modules() if isinstance(m, ResidualBlock)]
    each = net.config["blocks"]
    assert len(blocks) == len(net.down_blocks) * each + 2 + len(net.up_blocks) * (each + 1)
    with torch.no_grad():
        for block in blocks:
            x = randn(1, block.conv1.in_channels, 8, 8)
            first, final = (block.branch(x, e[None]) for e in emb)
            assert (first - final).norm() > 0.1 * first.norm()


def test_one_channel_a_group_would_be_blind_to_time():
    """The trap behind the rule, shown on a block that breaks it."""
    block = randomise(ResidualBlock(32, 32, 64, groups=32, dropout=0.0))
    x, emb = randn(1, 32, 8, 8), randn(2, 64, seed=1)
    first, final = (block.branch(x, e[None]) for e in emb)
    assert (first - final).norm() < 1e-4 * first.norm()


def test_starts_as_zero_and_every_branch_as_nothing():
    net = make_unet("tiny", num_classes=3)
    x, t = randn(2, 3, 32, 32), torch.tensor([0, 999])
    assert net(x, t).abs().max() == 0
    emb = randn(2, 128)
    for module in net.modules():
        if isinstance(module, ResidualBlock):
            assert module.branch(randn(2, module.conv1.in_channels, 8, 8), emb).abs().max() == 0
        if isinstance(module, SelfAttention):
            assert module.branch(randn(2, module.to_q.in_features, 8, 8)).abs().max() == 0
    denoiser = Denoiser(net, cosine_schedule(1000))
    loss = denoiser.loss(x, t + 1, randn(2, 3, 32, 32, seed=1)).mean()
    assert loss.item() == pytest.approx(1.0, abs=0.05)


def test_every_parameter_learns():
    """A gradient everywhere at step 1, nonzero by step 3 (zero-initialised layers hold some back).
    Exempt: the attention key bias, which shifts all of a query's scores alike, and labels not seen.
    """
    torch.manual_seed(0)
    net = UNet((8, 16), (1,), head_dim=8, image_size=8, num_classes=4)
    optimizer = torch.optim.SGD(net.parameters(), 0.5)
    y = torch.tensor([0, 1, 3, 4])
    for step in range(3):
        optimizer.zero_grad()
        x = randn(4, 3, 8, 8, seed=step)
        (net(x, torch.tensor([0, 9, 500, 999]), y) - randn(4, 3, 8, 8, seed=9)).square().mean().backward()  # noqa: E501  # fmt: skip
        assert all(p.grad is not None for p in net.parameters())
        optimizer.step()
    for name, parameter in net.named_parameters():
        if not name.endswith("to_k.bias"):
            assert parameter.grad.abs().max() > 0, name
    seen = net.class_embedding.weight.grad.abs().sum(1) > 0
    assert seen.tolist() == [True, True, False, True, True]


def test_images_of_a_batch_do_not_see_each_other(small_net):
    x, t = randn(4, 3, 8, 8), torch.tensor([0, 9, 500, 999])
    whole = small_net(x, t)
    for k in range(4):
        torch.testing.assert_close(whole[k : k + 1], small_net(x[k : k + 1], t[k : k + 1]))


@pytest.mark.parametrize("head_dim", [None, 4])
def test_attention_is_softmax_of_scaled_scores_and_blind_to_order(head_dim):
    attention = randomise(SelfAttention(8, 2, head_dim))
    x = randn(2, 8, 3, 3)
    pixels = attention.group_norm(x).flatten(2).transpose(1, 2)
    q, k, v = (f(pixels) for f in (attention.to_q, attention.to_k, attention.to_v))
    heads = []
    for q_h, k_h, v_h in zip(*(z.split(head_dim or 8, dim=2) for z in (q, k, v)), strict=True):
        scores = q_h @ k_h.transpose(1, 2) / q_h.shape[2] ** 0.5
        heads.append(scores.softmax(2) @ v_h)
        torch.testing.assert_close(heads[-1], scaled_dot_product_attention(q_h, k_h, v_h))
    by_hand = attention.to_out(torch.cat(heads, 2)).transpose(1, 2).view_as(x)
    torch.testing.assert_close(attention.branch(x), by_hand)
    order = torch.tensor([4, 8, 0, 3, 7, 1, 2, 6, 5])
    shuffled = attention.branch(x.flatten(2)[:, :, order].view_as(x))
    torch.testing.assert_close(shuffled.flatten(2), by_hand.flatten(2)[:, :, order])


def test_labels_and_no_label(small_net):
    net = randomise(UNet((8, 16), (), image_size=8, num_classes=4, head_dim=None)).eval()
    x, t = randn(2, 3, 8, 8), torch.tensor([3, 3])
    assert net.null_class == 4
    assert torch.equal(net(x, t), net(x, t, torch.tensor([4, 4])))
    assert (net(x, t) - net(x, t, torch.tensor([0, 1]))).abs().max() > 1e-3
    with pytest.raises(ValueError, match="without classes"):
        small_net(x, t, torch.tensor([0, 1]))


def test_super_resolution_inputs():
    net = randomise(UNet((8, 16), (), head_dim=None, in_channels=6, has_level=True, image_size=8))
    x, low, t = randn(2, 3, 8, 8), randn(2, 3, 8, 8, seed=1), torch.tensor([3, 3])
    out = net(x, t, low_res=low, level=torch.tensor([0, 5]))
    assert out.shape == x.shape
    assert (out - net(x, t, low_res=low, level=torch.tensor([0, 0])))[0].abs().max() == 0
    assert (out - net(x, t, low_res=low, level=torch.tensor([0, 0])))[1].abs().max() > 1e-3
    assert (out - net(x, t, low_res=-low, level=torch.tensor([0, 5]))).abs().max() > 1e-3
    with pytest.raises(ValueError, match="has_level=True"):
        net(x, t, low_res=low)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"channels": (3, 6)}, "at least 4 channels"),
        ({"channels": (8, 96), "head_dim": 64}, "heads of 64"),
        ({"channels": (8, 16), "head_dim": None, "image_size": 9}, "multiple of 2, .* 9 is not"),
        ({"channels": (8, 16), "attention_levels": (2,)}, r"count the 2 levels .* \[2\]"),
        ({"channels": (8, 16), "attention_levels": (-1,)}, r"count the 2 levels .* \[-1\]"),
    ],
)
def test_networks_that_cannot_be_built(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        UNet(**{"attention_levels": ()} | arguments)


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 8, 9), (3, 8, 8)])
def test_inputs_that_do_not_fit(small_net, shape):
    with pytest.raises(ValueError, match=r"takes \[B, 3, H, W\]"):
        small_net(randn(*shape), torch.tensor([0, 1]))
