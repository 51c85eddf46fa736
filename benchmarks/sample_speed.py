"""Sampling speed beside 🤗 diffusers: uv run --group bench python benchmarks/sample_speed.py

Same network, weights, starting noise and steps, both sides eager and, on a GPU, channels last. In
float32 (without TF32) the largest difference of their images is given, and marked where they are
not equal. In bfloat16 ours runs under autocast and diffusers' with its weights rounded.
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
from ddpm_course.rng import image_generators
from ddpm_course.training.speed import autocast

SCHEDULE = linear_schedule(1000)
EQUAL = 2e-2  # of the range -1 to 1: what rounding makes of many steps in float32


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
    device = denoiser.device
    denoiser.clip = sampler == "ddim"  # diffusers' DPM-Solver does not clip
    shape = (number, *denoiser.image_shape)
    with autocast(precision, device):
        return sample(denoiser, shape, SCHEDULE, sampler=sampler, steps=steps, device=device)


def theirs(pipe, sampler: str, number: int, steps: int) -> Tensor:
    options = {"use_clipped_model_output": True} if sampler == "ddim" else {}
    device = pipe.unet.device
    images = pipe(
        batch_size=number, num_inference_steps=steps, output_type="pt",
        generator=image_generators(0, number, device=device), **options,
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
    twins = {
        "fp32": diffusers_twin(net),
        "bf16": diffusers_twin(net).to(torch.bfloat16),
    }
    denoiser = Denoiser(net.to(device), SCHEDULE).eval()
    for twin in twins.values():
        twin.eval().to(device)
    if gpu:
        for module in (denoiser.net, *twins.values()):
            module.to(memory_format=torch.channels_last)
    rows, record = [], {}
    for sampler in ("ddim", "dpm_solver_pp_2m"):
        pipes = {name: pipeline(twin, sampler) for name, twin in twins.items()}
        for pipe in pipes.values():
            pipe.set_progress_bar_config(disable=True)
        tf32(False)
        mine = ours(denoiser, sampler, number, steps, "fp32").clamp(-1, 1).cpu()
        difference = (mine - theirs(pipes["fp32"], sampler, number, steps)).abs().max().item()
        runs: dict[str, Callable[[], object]] = {
            f"ours, {precision}": partial(ours, denoiser, sampler, number, steps, precision)
            for precision in ("fp32", "bf16")
        } | {
            f"diffusers, {name}": partial(theirs, pipe, sampler, number, steps)
            for name, pipe in pipes.items()
        }
        seconds = time_in_turns(runs, rounds, device)
        record[sampler] = {"largest_difference_fp32": difference, "equal": difference <= EQUAL} | {
            name: {"seconds": spread(values)} for name, values in seconds.items()
        }
        mark = "" if difference <= EQUAL else " NOT EQUAL"
        for name in pipes:
            own = statistics.median(seconds[f"ours, {name}"])
            other = statistics.median(seconds[f"diffusers, {name}"])
            rows.append({
                "sampler": f"{sampler}, {name}",
                "ours, s": f"{own:.3g}",
                "diffusers, s": f"{other:.3g}",
                "ours is faster by": f"{other / own:.2f}",
                "largest difference": f"{difference:.1e}{mark}" if name == "fp32" else "",
            })  # fmt: skip
    print_table(rows)
    save(
        f"sample_speed-{preset}",
        device,
        {"preset": preset, "number": number, "steps": steps, "samplers": record},
    )


if __name__ == "__main__":
    typer.run(main)
