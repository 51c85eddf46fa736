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
    jpegs,
    lucidrains_net,
    lucidrains_trainer,
    ours,
    parameters_of,
    plain_fp32,
)  # fmt: skip
from measuring import bf16_rate, pick_device, print_table, save, spread, time_in_turns

from ddpm_course import UNet, make_unet, synthetic_flowers


def randomised(preset: str) -> UNet:
    """The preset's network with no weight left at zero."""
    torch.manual_seed(0)
    net = make_unet(preset)
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
    steps: Annotated[int, typer.Option(help="A round; default: 20 on a GPU, 2 on a CPU.")] = 0,
    rounds: int = 5,
    only: Annotated[str, typer.Option(help="Loops whose names begin so; default: all.")] = "",
    pictures: Annotated[int, typer.Option(help="Default: 7168 on a GPU, 1024 on a CPU.")] = 0,
) -> None:
    device = pick_device()
    gpu = device.type == "cuda"
    preset, batch_size = preset or ("base" if gpu else "small"), batch_size or (128 if gpu else 16)
    steps, pictures = steps or (20 if gpu else 2), pictures or (7168 if gpu else 1024)
    net = randomised(preset)
    size = net.config["image_size"]
    images, _ = synthetic_flowers(pictures, size, seed=0)
    agreement = same_work(net, size)
    fresh = lambda: copy.deepcopy(net)  # noqa: E731
    shared, cost = (images, batch_size, steps, device), (parameters_of(net), flops_of(net, size))
    peer = None
    makers = {
        "ours": lambda: ours(fresh(), *shared),
        "ours, compiled": lambda: ours(fresh(), *shared, compile=True),
        "(a) diffusers' example": lambda: diffusers_example(fresh(), *shared),
        "(a) compiled": lambda: diffusers_example(fresh(), *shared, compile=True),
        "(c) plain fp32": lambda: plain_fp32(fresh(), *shared),
    }
    if gpu:
        del makers["ours, compiled"]  # ours as it comes is compiled there
    if "(b)" in only or not only:
        peer = lucidrains_net(parameters_of(net), device)
        files = (jpegs(images), batch_size, steps, size)
        makers |= {
            "(b) lucidrains' Trainer": lambda: lucidrains_trainer(copy.deepcopy(peer), *files),
            "(b) compiled": lambda: lucidrains_trainer(copy.deepcopy(peer), *files, compile=True),
        }
    wanted = [name for name in makers if any(map(name.startswith, only.split(",")))]
    # Counted here: a loop compiles its network and moves it to the GPU in place.
    costs = {
        name: (parameters_of(peer), flops_of(peer, size)) if name.startswith("(b)") else cost
        for name in wanted
    }
    seconds = time_in_turns({name: makers[name]() for name in wanted}, rounds, device)
    rate = bf16_rate(device)
    record, rows = {}, []
    for name, values in seconds.items():
        speeds = [steps * batch_size / s for s in values]
        parameters, flops = costs[name]
        median = statistics.median(speeds)
        record[name] = {
            "images_per_second": spread(speeds),
            "parameters": parameters,
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
