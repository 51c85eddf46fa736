"""Sampling speed beside 🤗 diffusers: uv run --group bench python benchmarks/sample_speed.py

Same network, weights, starting noise and steps. In float32 the images are shown to be equal; in
bfloat16 each side runs as its own documentation says.
"""

import statistics
from collections.abc import Callable
from functools import partial
from typing import Annotated

import torch
import typer
from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DPMSolverMultistepScheduler
from loops import diffusers_twin, tf32
from measuring import pick_device, print_table, save, spread, time_in_turns
from torch import Tensor
from train_speed import randomised

from ddpm_course import Denoiser, linear_schedule, sample
from ddpm_course.engine import autocast
from ddpm_course.rng import image_generators

SCHEDULE = linear_schedule(1000)


def pipeline(twin, sampler: str):
    """diffusers' pipeline for one of our samplers, on the same grid."""
    shared = {
        "trained_betas": SCHEDULE.betas[1:].tolist(),
        "timestep_spacing": "trailing",
        "prediction_type": "epsilon",
    }
    if sampler == "ddim":
        return DDIMPipeline(twin, DDIMScheduler(clip_sample=True, **shared))
    solver = DPMSolverMultistepScheduler(
        algorithm_type="dpmsolver++", solver_order=2, final_sigmas_type="zero", **shared
    )
    return DDPMPipeline(twin, solver)


def ours(denoiser: Denoiser, sampler: str, number: int, steps: int, precision: str) -> Tensor:
    device = next(denoiser.parameters()).device
    denoiser.clip = sampler == "ddim"  # diffusers' DPM-Solver does not clip
    shape = (number, *denoiser.net.image_shape)
    with autocast(precision, device):
        return sample(denoiser, shape, SCHEDULE, sampler=sampler, steps=steps, device=device)


def theirs(pipe, sampler: str, number: int, steps: int) -> Tensor:
    options = {"use_clipped_model_output": True} if sampler == "ddim" else {}
    device = pipe.unet.device
    images = pipe(
        batch_size=number, num_inference_steps=steps, output_type="pt",
        generator=image_generators(0, number, device), **options,
    ).images  # fmt: skip
    return images.float().cpu() * 2 - 1


def main(
    preset: Annotated[str, typer.Option(help="Default: base on a GPU, small on a CPU.")] = "",
    number: Annotated[int, typer.Option(help="Images.")] = 16,
    steps: Annotated[int, typer.Option(help="Network calls an image; divides 1000.")] = 50,
    rounds: int = 5,
) -> None:
    device = pick_device()
    gpu = device.type == "cuda"
    preset = preset or ("base" if gpu else "small")
    net = randomised(preset)
    twin, half = diffusers_twin(net).eval().to(device), diffusers_twin(net).eval().to(device)
    half = half.to(torch.bfloat16, memory_format=torch.channels_last)
    denoiser = Denoiser(net.to(device), SCHEDULE).eval()
    if gpu:
        denoiser.net.to(memory_format=torch.channels_last)
        for module in (denoiser.net, twin, half):
            module.compile()
    rows, record = [], {}
    for sampler in ("ddim", "dpm_solver_pp_2m"):
        exact, fast = pipeline(twin, sampler), pipeline(half, sampler)
        for pipe in (exact, fast):
            pipe.set_progress_bar_config(disable=True)
        tf32(False)
        mine = ours(denoiser, sampler, number, steps, "fp32").clamp(-1, 1).cpu()
        difference = (mine - theirs(exact, sampler, number, steps)).abs().max().item()
        if difference > 2e-2:
            raise SystemExit(f"{sampler}: the images differ by {difference:.3g}")
        runs: dict[str, Callable[[], object]] = {
            "ours, fp32": partial(ours, denoiser, sampler, number, steps, "fp32"),
            "diffusers, fp32": partial(theirs, exact, sampler, number, steps),
            "ours, bf16": partial(ours, denoiser, sampler, number, steps, "bf16"),
            "diffusers, bf16": partial(theirs, fast, sampler, number, steps),
        }
        seconds = time_in_turns(runs, rounds, device)
        record[sampler] = {"largest_difference_fp32": difference} | {
            name: {"seconds": spread(values)} for name, values in seconds.items()
        }
        for precision in ("fp32", "bf16"):
            own, other = (seconds[f"{who}, {precision}"] for who in ("ours", "diffusers"))
            rows.append({
                "sampler": f"{sampler}, {precision}",
                "ours, s": f"{statistics.median(own):.3g}",
                "diffusers, s": f"{statistics.median(other):.3g}",
                "ours is faster by": f"{statistics.median(other) / statistics.median(own):.2f}",
                "largest difference": f"{difference:.1e}" if precision == "fp32" else "",
            })  # fmt: skip
    print_table(rows)
    command = f"sample_speed.py --preset {preset} --number {number} --steps {steps}"
    save(
        f"sample_speed-{preset}",
        f"{command} --rounds {rounds}",
        device,
        {"preset": preset, "number": number, "steps": steps, "samplers": record},
    )


if __name__ == "__main__":
    typer.run(main)
