"""Malformed inputs by kind: each ends in one sentence and a non-zero exit.

No traceback, no hang, no write outside the command's own output, no code run from data.
`pytest tests/test_malformed.py -s` prints the count of each kind. What is wrong with the arguments
alone is in `test_cli.py`.
"""

import io
import json
import os
import pickle
import shutil
import signal
import struct
import sys
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import pytest
import torch
from command_line import SAMPLE, TRAIN, command, here, small_and_offline, trained, weights_of
from helpers import contents
from PIL import Image
from safetensors.torch import load_file, save_file

from ddpm_course.pretrained.diffusers_format import export_diffusers

__all__ = ["here", "small_and_offline", "trained"]  # fixtures

if not hasattr(signal, "SIGALRM"):
    pytest.skip("SIGALRM is of POSIX", allow_module_level=True)

MODEL, STATE, CONFIG = "model.safetensors", "training_state.safetensors", "config.json"
DRAW = (*SAMPLE, "--from", "run", "--out", "new.png")
RESUME = ("train", "--resume", "--out", "run", "--steps", "4")
DIFFUSERS = (*SAMPLE, "--from", "theirs", "--out", "new.png")
PICTURES = (*TRAIN, "--data", "folder", "--data-root", "own", "--out", "new")
CASES = {}


def case(kind, name, args):
    def register(spoil):
        CASES[f"{kind}: {name}"] = (spoil, args)
        return spoil

    return register


def bytes_of(path, change):
    def spoil():
        Path(path).write_bytes(change(Path(path).read_bytes()))

    return spoil


def header(data):
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def with_header(change):
    def rewritten(data):
        told, rest = header(data)
        text = json.dumps(change(told) or told).encode()
        return struct.pack("<Q", len(text)) + text + rest

    return rewritten


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return os.system, ("touch run_by_data",)


def zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../outside", data)
    return file.getvalue()


def first(told):
    return next(name for name in told if name != "__metadata__")


def stretched(told):
    told[first(told)] |= {"shape": [10**12], "data_offsets": [0, 4 * 10**12]}


def overlapping(told):
    names = [name for name in told if name != "__metadata__"]
    told[names[1]]["data_offsets"] = told[names[0]]["data_offsets"]


def unknown_kind(told):
    told[first(told)]["dtype"] = "Q99"


def negative(told):
    told[first(told)]["data_offsets"] = [-8, 0]


def metadata(**changes):
    def change(told):
        known = json.loads(told["__metadata__"]["metadata"])
        told["__metadata__"]["metadata"] = json.dumps(known | changes)

    return change


def untold(told):
    told["__metadata__"]["metadata"] = "[" * 100_000


for path, args in ((f"run/{MODEL}", DRAW), (f"run/{STATE}", RESUME)):
    file = path.split("/")[1].split(".")[0]
    for share in (0, 7, 8, 100, -1):
        case("truncated", f"{file} [:{share}]", args)(bytes_of(path, lambda d, n=share: d[:n]))
    for place in (0, 7, 20, 200, -5, -900):
        spoil = bytes_of(path, lambda d, n=place: flipped(d, n % len(d)))
        case("bit-flipped", f"{file} at {place}", args)(spoil)
    for name, change in {
        "a pickle": lambda d: pickle.dumps(Bomb()),
        "a zip with a way out": zipped,
        "a header of 2⁶³ bytes": lambda d: struct.pack("<Q", 2**63) + d[8:],
        "a tensor of 4 TB": with_header(stretched),
        "overlapping tensors": with_header(overlapping),
        "an unknown dtype": with_header(unknown_kind),
        "a negative offset": with_header(negative),
        "metadata 100,000 brackets deep": with_header(untold),
        "bytes after the end": lambda d: d + b"more",
    }.items():
        case("hostile safetensors", f"{file}, {name}", args)(bytes_of(path, change))

for name, changes in {
    "step is a word": {"step": "two"},
    "step is missing": {"step": None},
    "identity is a list": {"identity": [1]},
    "updates are a fraction": {"ema_updates": 1.5},
}.items():
    spoil = bytes_of(f"run/{STATE}", with_header(metadata(**changes)))
    case("wrong-typed", f"state, {name}", RESUME)(spoil)


def tensors(path, change):
    def spoil():
        held = load_file(path)
        change(held)
        save_file(held, path)

    return spoil


def renamed(held):
    held["conv_in"] = held.pop("conv_in.weight")


def rising(held):
    held["alphas_cumprod"] = held["alphas_cumprod"].flip(0).contiguous()


def not_a_number(held):
    held["conv_in.weight"] *= torch.nan


for name, change in {
    "another name": renamed,
    "a rising schedule": rising,
    "a schedule of NaN": lambda held: held.update(alphas_cumprod=torch.full((51,), torch.nan)),
    "a schedule of one number": lambda held: held.update(alphas_cumprod=torch.ones(1)),
    "a weight of another shape": lambda held: held.update({"conv_in.bias": torch.ones(9)}),
    "a weight too many": lambda held: held.update(extra=torch.ones(9)),
    "weights of NaN": not_a_number,
}.items():
    case("hostile safetensors", name, DRAW)(tensors(f"run/{MODEL}", change))


def config(path, change):
    def spoil():
        told = json.loads(Path(path).read_text())
        change(told)
        Path(path).write_text(json.dumps(told))

    return spoil


NETWORK = {
    "channels are a word": {"channels": "wide"},
    "channels are empty": {"channels": []},
    "channels are fractions": {"channels": [8.5, 16, 16]},
    "channels are negative": {"channels": [-8, 16, 16]},
    "a billion channels": {"channels": [10**9, 10**9, 10**9]},
    "a million levels": {"channels": [8] * 1_000_000},
    "a billion blocks": {"blocks": 10**9},
    "no blocks": {"blocks": 0},
    "blocks are a list": {"blocks": [2]},
    "heads of 0 channels": {"head_dim": 0},
    "dropout is 7": {"dropout": 7},
    "a picture of a billion pixels": {"image_size": 2**30},
    "a picture of no pixels": {"image_size": 0},
    "an unknown option": {"exec": "import os"},
}
for name, changes in NETWORK.items():
    spoil = config(f"run/{CONFIG}", lambda told, c=changes: told["network"].update(c))
    case("oversized" if "illion" in name else "wrong-typed", name, DRAW)(spoil)
for name, change in {
    "network is a list": lambda told: told.update(network=[]),
    "prediction is a number": lambda told: told.update(prediction=3),
    "prediction is a list": lambda told: told.update(prediction=[]),
}.items():
    case("wrong-typed", name, DRAW)(config(f"run/{CONFIG}", change))
for name, data in {
    "empty": b"",
    "no JSON": b"{network:",
    "100,000 brackets": b"[" * 100_000,
    "bytes": b"\xff\xfe\x00",
    "a number": b"1e999",
}.items():
    case("JSON", f"config.json, {name}", DRAW)(bytes_of(f"run/{CONFIG}", lambda _, d=data: d))
    case("JSON", f"config.json to resume, {name}", RESUME)(
        bytes_of(f"run/{CONFIG}", lambda _, d=data: d)
    )
for name, changes in {
    "preset is a list": {"preset": []},
    "batch size is a word": {"batch_size": "many"},
    "data root is a number": {"data_root": 7, "data": "folder"},
    "timesteps are a fraction": {"timesteps": 0.5},
    "sample_every is a word": {"sample_every": "many"},
    "held_out_every is a list": {"held_out_every": [1]},
    "the tracker is a list": {"track": []},
    "the device is a number": {"device": 3},
    "the data set is a number": {"data": 7},
    "batch size is a fraction": {"batch_size": 2.0},
    "a billion timesteps": {"timesteps": 10**9},
}.items():
    spoil = config(f"run/{CONFIG}", lambda told, c=changes: told["run"].update(c))
    case("wrong-typed", f"settings, {name}", RESUME)(spoil)
case("wrong-typed", "settings are a word", RESUME)(
    config(f"run/{CONFIG}", lambda told: told.update(run="fast"))
)


@case("paths", "the weights are a folder", DRAW)
def weights_folder():
    Path(f"run/{MODEL}").unlink()
    Path(f"run/{MODEL}").mkdir()


@case("paths", "the weights are a link to themselves", DRAW)
def weights_loop():
    Path(f"run/{MODEL}").unlink()
    Path(f"run/{MODEL}").symlink_to(MODEL)


CASES["paths: a checkpoint by a path out of the package"] = (
    lambda: None, (*SAMPLE, "--from", "../checkpoints/nothing", "--out", "new.png")
)  # fmt: skip


def theirs(change):
    def spoil():
        export_diffusers("theirs", weights_of())
        change()

    return spoil


def scheduler(**changes):
    path = "theirs/scheduler/scheduler_config.json"
    return lambda: config(path, lambda told: told.update(changes))()


def unet(**changes):
    return lambda: config("theirs/unet/config.json", lambda told: told.update(changes))()


for name, change in {
    "the index names a way out": lambda: Path("theirs/model_index.json").write_text(
        '{"unet": ["../../run", "UNet2DModel"]}'
    ),
    "the index is a list": lambda: Path("theirs/model_index.json").write_text("[]"),
    "no scheduler": lambda: shutil.rmtree("theirs/scheduler"),
    "a billion steps": scheduler(num_train_timesteps=10**12, trained_betas=None),
    "billions of steps": scheduler(num_train_timesteps=10**10, trained_betas=None),
    "clipping is a word": scheduler(clip_sample="false"),
    "fewer widths than blocks": unet(
        block_out_channels=[8], down_block_types=2 * ["AttnDownBlock2D"]
    ),
    "steps are a word": scheduler(num_train_timesteps="many", trained_betas=None),
    "fewer betas than steps": scheduler(trained_betas=[0.1, 0.2]),
    "betas are words": scheduler(trained_betas=["a"]),
    "betas are none": scheduler(trained_betas=[]),
    "beta is NaN": scheduler(beta_start=float("nan"), trained_betas=None),
    "a billion layers": unet(layers_per_block=10**9),
    "blocks are a number": unet(down_block_types=3),
    "a billion channels": unet(block_out_channels=[10**9, 10**9]),
    "weights cut short": bytes_of(
        "theirs/unet/diffusion_pytorch_model.safetensors", lambda d: d[: len(d) // 2]
    ),
}.items():
    case("diffusers", name, DIFFUSERS)(theirs(change))


def png(width, height, kind=2):
    """A PNG that claims a size."""
    chunk = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    body = b"IHDR" + chunk
    rest = b"IDAT" + zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in (body, rest, b"IEND")
    )


def jpeg():
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, format="jpeg")
    return file.getvalue()


for name, data in {
    "empty.png": b"",
    "text.png": b"no picture",
    "script.png": b"<svg onload='touch run_by_data'/>",
    "cut.jpg": jpeg()[:300],
    "flipped.jpg": flipped(jpeg(), 3),
    "bomb.png": png(60_000, 60_000),
    "endless.png": png(2**31 - 1, 2**31 - 1),
    "nothing.png": png(0, 0),
    "kind.png": png(8, 8, kind=9),
    "pickle.webp": pickle.dumps(Bomb()),
}.items():

    def picture(name=name, data=data):
        Path("own").mkdir()
        Path("own", name).write_bytes(data)

    case("images", name, PICTURES)(picture)


class Hangs(BaseException):
    """Not an Exception, lest the command tells it as one more thing that is wrong."""


@pytest.fixture(scope="module", autouse=True)
def counts():
    yield
    kinds = Counter(name.split(":")[0] for name in CASES)
    print(f"\n{len(CASES)} malformed inputs:", dict(kinds), file=sys.stderr)


@pytest.mark.parametrize(("spoil", "args"), CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_malformed_input_ends_in_one_sentence(here, capsys, spoil, args):
    (here / "new").mkdir()  # what a command may write to
    spoil()
    before = contents(here)

    def too_long(*_):
        raise Hangs

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    try:
        sentence = command(*args)
    finally:
        signal.alarm(0)
    assert isinstance(sentence, str), "it ended well"
    assert sentence.startswith("ddpm-course: ")
    assert "\n" not in sentence.strip()
    assert 30 < len(sentence) < 400
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    after = contents(here)
    mine = ("new/", "run/tensorboard/", "run/.lock")
    assert {k for k in after.keys() ^ before.keys() if not k.startswith(mine)} == set()
    assert {k: after[k] for k in before} == before
