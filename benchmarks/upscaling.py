"""Four times as large, against resampling and regression: benchmarks/upscaling.py COMMAND

    uv run python benchmarks/upscaling.py regression    # trains the baseline
    uv run python benchmarks/upscaling.py quality
    uv run python benchmarks/upscaling.py speed

Held-out photographs, reduced to a quarter and spoiled as in training, are enlarged again and
compared with the truth: PSNR and SSIM picture by picture, and over 64×64 patches of the whole
result the kernel distance in what the two classifiers see that judge the course's flowers.

`regression` trains the same network on the same batches to name the best large picture at once: a
denoiser whose only step starts from pure noise, which tells it nothing.
"""

import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from measuring import kept, pick_device, print_table, save, spread, time_in_turns
from PIL import Image
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure
from tqdm import tqdm

import ddpm_course as dc
from ddpm_course.data.image_files import bytes_of
from ddpm_course.data.images import to_uint8, to_unit
from ddpm_course.evaluation.distances import psnr
from ddpm_course.evaluation.features import EXTRACTORS, features
from ddpm_course.evaluation.quality import UNSEEN
from ddpm_course.pretrained.files import digest
from ddpm_course.pretrained.weights import MODEL, UPSCALER, load_pretrained
from ddpm_course.super_resolution.crops import pair_batches
from ddpm_course.super_resolution.model import downsampled, upscale
from ddpm_course.super_resolution.pairs import SCALE, load_pairs
from ddpm_course.training.run_folder import steps_done

REGRESSION, KEPT = Path("runs/upscaler-regression"), Path("runs/upscaling")
PATCH = 64
Name = Annotated[str, typer.Option(help="Data set, as of `ddpm-course train`.")]
Way = Callable[[Tensor, int], Tensor]
"""Small pictures u8[N,3,s,s] and a seed -> u8[N,3,4s,4s]."""
Threads = Annotated[int | None, typer.Option(help="CPU threads; all by default.")]

app = typer.Typer(pretty_exceptions_enable=False)


@app.command("regression")
def train_regression(
    steps: int = 20_000,
    batch_size: int = dc.PRESETS["upscaler"].batch_size,
    resume: Annotated[bool, typer.Option("--resume")] = False,
    data: Name = "folder",
    data_root: Path = Path("data/flowers-hires"),
) -> None:
    """Train the baseline, in runs/upscaler-regression."""
    preset, device = dc.PRESETS["upscaler"], pick_device()
    config = dc.TrainConfig(steps=steps, batch_size=batch_size, learning_rate=preset.learning_rate)
    pairs, _ = load_pairs(data, data_root)
    size = preset.network["image_size"]
    batches = pair_batches(
        pairs, dc.cosine_schedule(1000), size, batch_size=batch_size, seed=config.seed,
        device=device,
    )  # fmt: skip
    torch.manual_seed(config.seed)
    net = dc.UNet(**preset.network)
    denoiser = dc.Denoiser(net, dc.NoiseSchedule(torch.tensor([1.0, 0.0])), "x0").to(device)
    bar = tqdm(unit="step", total=steps, dynamic_ncols=True)
    for state in dc.train(denoiser, batches, config, folder=REGRESSION, resume=resume):
        bar.update(state.step - bar.n)
        bar.set_postfix_str(f"loss {state.loss:.4f}")


def drawn(diffusion: dc.Denoiser, small: Tensor, seed: int, **settings) -> Tensor:
    return upscale(diffusion, small, seed=seed, **settings)


def resampled(small: Tensor, method: Image.Resampling) -> Tensor:
    pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in small]
    sizes = [(SCALE * picture.width, SCALE * picture.height) for picture in pictures]
    enlarged = [picture.resize(size, method) for picture, size in zip(pictures, sizes, strict=True)]
    return torch.stack([bytes_of(picture) for picture in enlarged])


def patch_distance(large: Tensor, truth: Tensor) -> dict[str, float]:
    """Kernel distance of the patches of u8[N,3,S,S] to those of the truth, with its standard error
    over pictures.

    The U-statistic over pairs of pictures (Gretton et al. 2012, Eq. 4): unbiased, since no picture
    is compared with itself or its own truth, and 0 if the two are equal.
    """
    pictures = []
    for name in UNSEEN:
        extract = EXTRACTORS[name]()
        x, y = (features(extract, patches(images)).double() for images in (large, truth))
        shape, width = (len(large), -1, len(large), len(x) // len(large)), x.shape[1]

        def kernel(a: Tensor, b: Tensor, shape=shape, width=width) -> Tensor:
            return ((a @ b.T / width + 1) ** 3).reshape(shape).mean((1, 3))

        h = kernel(x, x) + kernel(y, y) - kernel(x, y) - kernel(y, x)
        pictures.append(h.fill_diagonal_(0).sum(1) / (len(h) - 1))
    each = torch.stack(pictures).mean(0)
    return {"mean": each.mean().item(), "error": 2 * each.std().item() / len(each) ** 0.5}


def patches(images: Tensor) -> Tensor:
    """The 64×64 patches of u8[N,3,S,S], picture by picture, from its top left corner on."""
    tiles = images.unfold(2, PATCH, PATCH).unfold(3, PATCH, PATCH)
    return tiles.permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, PATCH, PATCH)


def measure(large: Tensor, small: Tensor, truth: Tensor) -> dict[str, dict[str, float]]:
    """Means over the pictures with their standard errors."""
    consistency = psnr(to_uint8(downsampled(to_unit(large))), small)
    ssim = structural_similarity_index_measure(
        large.float(), truth.float(), data_range=255.0, reduction="none"
    )
    each = {"psnr": psnr(large, truth), "ssim": ssim, "consistency": consistency}
    row = {name: mean_of(values) for name, values in each.items()}
    return row | {"patches": patch_distance(large, truth)}


def mean_of(values: Tensor) -> dict[str, float]:
    return {"mean": values.mean().item(), "error": (values.std() / len(values) ** 0.5).item()}


def ways(source: str) -> dict[str, tuple[Way, dict[str, Tensor]]]:
    """Every way to enlarge, with the weights that it uses."""
    device = pick_device()
    diffusion = load_pretrained(source).to(device)
    found: dict[str, tuple[Way, dict[str, Tensor]]] = {
        name: (lambda small, seed, method=method: resampled(small, method), {})
        for name, method in {
            "nearest": Image.Resampling.NEAREST,
            "bicubic": Image.Resampling.BICUBIC,
            "Lanczos": Image.Resampling.LANCZOS,
        }.items()
    }
    if (REGRESSION / MODEL).is_file():
        regression = load_pretrained(REGRESSION).to(device)
        name = f"regression, {steps_done(REGRESSION):,} steps"
        found[name] = (
            lambda small, seed: upscale(regression, small, steps=1),
            regression.state_dict(),
        )
    settings = {
        "diffusion": {},
        "diffusion, 1 step": {"steps": 1},
        "diffusion, 5 steps": {"steps": 5},
        "diffusion, DDPM": {"sampler": "ddpm"},
    }
    for name, values in settings.items():
        found[name] = (partial(drawn, diffusion, **values), diffusion.state_dict())
    return found


@app.command("quality")
def quality(
    source: Annotated[str, typer.Option("--from")] = UPSCALER,
    number: Annotated[int, typer.Option(help="Held-out pictures.")] = 300,
    data: Name = "folder",
    data_root: Path = Path("data/flowers-hires"),
    threads: Threads = None,
) -> None:
    """PSNR, SSIM, consistency and kernel distance of every way to enlarge."""
    if threads:
        torch.set_num_threads(threads)
    _, held_out = load_pairs(data, data_root)
    truth, small = held_out.high_res[:number], held_out.low_res[:number]
    rows = {}
    for name, (enlarge, weights) in ways(source).items():
        path = KEPT / f"{name.replace(' ', '-')}.safetensors"
        # What is kept belongs to these pictures and these weights, whatever their names.
        seen = {"small": small} | {key: value.cpu() for key, value in weights.items()}
        large = kept(path, {"seen": digest(seen)}, partial(in_parts, enlarge, small, name))["large"]
        rows[name] = measure(large, small, truth)
        print(name, rows[name], flush=True)
    digits = {"psnr": 2, "ssim": 3, "patches": 4, "consistency": 1}
    print_table([
        {"enlarged by": name, **{k: told(row[k], d) for k, d in digits.items()}}
        for name, row in rows.items()
    ])  # fmt: skip
    save(
        f"upscaling-{Path(source).name}", pick_device(),
        {
            "pictures": len(truth), "size": truth.shape[-1], "rows": rows,
            "consistency of the truth": mean_of(psnr(to_uint8(downsampled(to_unit(truth))), small)),
        },
    )  # fmt: skip


def in_parts(enlarge: Way, small: Tensor, name: str) -> dict[str, Tensor]:
    bar = tqdm(small.split(4), desc=name, dynamic_ncols=True)
    return {"large": torch.cat([enlarge(part, seed) for seed, part in enumerate(bar)])}


def told(figure: dict[str, float], digits: int) -> str:
    return f"{figure['mean']:.{digits}f} ± {figure['error']:.{digits}f}"


@app.command("speed")
def speed(source: Annotated[str, typer.Option("--from")] = UPSCALER, rounds: int = 5) -> None:
    """Seconds that one picture of 64×64 pixels takes, to 256×256."""
    device = pick_device()
    denoiser = load_pretrained(source).to(device)
    small = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    runs = {"upscale": lambda: upscale(denoiser, small).sum()}
    seconds = time_in_turns(runs, rounds, device)["upscale"]
    print(f"{statistics.median(seconds):.1f} s")
    save("upscaling_speed", device, {"seconds": spread(seconds)})


if __name__ == "__main__":
    app()
