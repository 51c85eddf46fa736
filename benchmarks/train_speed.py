"""Training speed, side by side: uv run --group bench python benchmarks/train_speed.py"""

import copy
import statistics
from typing import Annotated

import torch
import typer
from loops import (
    diffusers_example,
    diffusers_twin,
    flops_of,
    lucidrains_trainer,
    ours,
    parameters_of,
    plain_fp32,
)  # fmt: skip
from measuring import bf16_rate, pick_device, print_table, save, spread, time_in_turns

from ddpm_course import PRESETS, UNet, synthetic_flowers


def randomised(preset: str) -> UNet:
    """The preset's network with no weight left at zero."""
    torch.manual_seed(0)
    net = UNet(**PRESETS[preset].network)
    for parameter in net.parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        torch.nn.init.normal_(parameter, std=fan_in**-0.5)
    return net


def same_work(net: UNet, size: int) -> dict[str, float]:
    """Largest difference of outputs and of gradients between our network and diffusers', as a
    share of the largest value: what they are asked to do is the same.
    """
    twin = diffusers_twin(net)
    x, t = torch.randn(2, 3, size, size), torch.tensor([3, 700])
    out, other = net(x, t), twin(x, t).sample
    out.square().mean().backward()
    other.square().mean().backward()
    gradients = dict(twin.named_parameters())
    differences = [
        ((p.grad - gradients[name].grad).abs().max() / gradients[name].grad.abs().max()).item()
        for name, p in net.named_parameters()
        if "to_k.bias" not in name  # its gradient is 0 in exact arithmetic
    ]
    net.zero_grad()
    return {
        "output": ((out - other).abs().max() / other.abs().max()).item(),
        "gradient": max(differences),
    }


def main(
    preset: Annotated[str, typer.Option(help="Default: base on a GPU, small on a CPU.")] = "",
    batch_size: Annotated[int, typer.Option(help="Default: 128 on a GPU, 16 on a CPU.")] = 0,
    steps: Annotated[int, typer.Option(help="Steps a round.")] = 0,
    rounds: int = 5,
    pictures: int = 1024,
) -> None:
    device = pick_device()
    gpu = device.type == "cuda"
    preset, batch_size = preset or ("base" if gpu else "small"), batch_size or (128 if gpu else 16)
    steps = steps or (20 if gpu else 2)
    net = randomised(preset)
    size = net.config["image_size"]
    images, _ = synthetic_flowers(pictures, size, seed=0)
    agreement = same_work(net, size)
    fresh = lambda: copy.deepcopy(net)  # noqa: E731
    peer, peer_net = lucidrains_trainer(images, batch_size, device, parameters_of(net))
    compiled, _ = lucidrains_trainer(images, batch_size, device, parameters_of(net), compile=True)
    loops = {
        "ours": ours(fresh(), images, batch_size, device),
        "ours, compiled": ours(fresh(), images, batch_size, device, compile=True),
        "(a) diffusers' example": diffusers_example(fresh(), images, batch_size, device),
        "(a) compiled": diffusers_example(fresh(), images, batch_size, device, compile=True),
        "(b) lucidrains' Trainer": peer,
        "(b) compiled": compiled,
        "(c) plain fp32": plain_fp32(fresh(), images, batch_size, device),
    }
    if gpu:
        del loops["ours, compiled"]  # what comes as it is is compiled there
    seconds = time_in_turns({k: lambda f=f: f(steps) for k, f in loops.items()}, rounds, device)
    rate = bf16_rate(device)
    record, rows = {}, []
    for name, values in seconds.items():
        speeds = [steps * batch_size / s for s in values]
        theirs = name.startswith("(b)")
        flops = flops_of(peer_net if theirs else fresh(), size)
        median = statistics.median(speeds)
        record[name] = {
            "images_per_second": spread(speeds),
            "parameters": parameters_of(peer_net if theirs else net),
            "forward_flops_per_image": flops,
            "mfu": median * 3 * flops / rate,  # backward costs twice the forward
        }
    best = record["ours"]
    for name, r in record.items():
        ratio = best["images_per_second"]["median"] / r["images_per_second"]["median"]
        r["ours_over_this"] = ratio
        per_flop = best["forward_flops_per_image"] / r["forward_flops_per_image"]
        r["ours_over_this_per_flop"] = ratio * per_flop
        s = r["images_per_second"]
        rows.append({
            "loop": name,
            "images/s": f"{s['median']:.4g} ({s['min']:.4g} to {s['max']:.4g})",
            "ours is faster by": f"{ratio:.2f}",
            "per FLOP": f"{ratio * per_flop:.2f}",
            "parameters": f"{r['parameters'] / 1e6:.1f} M",
            "forward GFLOP": f"{r['forward_flops_per_image'] / 1e9:.1f}",
            "MFU": f"{100 * r['mfu']:.0f} %",
        })  # fmt: skip
    print_table(rows)
    save(
        f"train_speed-{preset}",
        f"train_speed.py --preset {preset} --batch-size {batch_size} --steps {steps} "
        f"--rounds {rounds} --pictures {pictures}",
        device,
        {
            "preset": preset,
            "batch_size": batch_size,
            "same_work": agreement,
            "bf16_matmul_flops_per_second": rate,
            "loops": record,
        },
    )


if __name__ == "__main__":
    typer.run(main)
