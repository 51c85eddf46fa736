"""Malformed inputs by kind: each ends in one sentence and a non-zero exit.

No traceback, no hang, no write outside the command's own output, no code run from data. Wrong
arguments are in tests/cli/test_cli.py.
"""

import json
import os
import pickle
import shutil
import signal
import struct
import zlib
from pathlib import Path

import pytest
import torch
from command_line import SAMPLE, TRAIN, command, here, small_and_offline, trained, weights_of
from helpers import contents
from safetensors.torch import load, save

from ddpm_course.pretrained.diffusers_format import export_diffusers

__all__ = ["here", "small_and_offline", "trained"]  # fixtures

if not hasattr(signal, "SIGALRM"):
    pytest.skip("SIGALRM is of POSIX", allow_module_level=True)

MODEL, STATE = "run/model.safetensors", "run/training_state.safetensors"
CONFIG, THEIRS = "run/config.json", "theirs/unet/diffusion_pytorch_model.safetensors"
READ = (*SAMPLE, "--from", "run", "--out", "new.png")
RESUME = ("train", "--resume", "--out", "run", "--steps", "4")
DIFFUSERS = (*SAMPLE, "--from", "theirs", "--out", "new.png")
IMAGES = (*TRAIN, "--data", "folder", "--data-root", "own", "--out", "new")
CASES = {}  # name: (what damages a file, the command that then reads it)


def rewrite(path, change):
    """Damages a file: `change` is given its bytes."""
    return lambda: Path(path).write_bytes(change(Path(path).read_bytes()))


def rewrite_json(path, change):
    """Damages a JSON file: `change` is given its value."""

    def changed(data):
        change(value := json.loads(data))
        return json.dumps(value).encode()

    return rewrite(path, changed)


def rewrite_tensors(change):
    def changed(data):
        change(tensors := load(data))
        return save(tensors)

    return rewrite(MODEL, changed)


# ---- safetensors: cut, flipped, hostile


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]


class Bomb:
    """Unpickled, it would leave a file behind."""

    def __reduce__(self):
        return os.system, ("touch run_by_data",)


def with_header(change):
    """`change` is given the first two entries of the header, and all of it."""

    def rewritten(data):
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8 : 8 + length])
        first, second, *_ = (entry for name, entry in header.items() if name != "__metadata__")
        change(first, second, header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return rewritten


def metadata(**changes):
    def change(first, second, header):
        known = json.loads(header["__metadata__"]["metadata"])
        header["__metadata__"]["metadata"] = json.dumps(known | changes)

    return with_header(change)


TERABYTES = {"shape": [10**12], "data_offsets": [0, 4 * 10**12]}
HOSTILE = {
    "cut to 0": lambda data: b"",
    "cut to 100": lambda data: data[:100],
    "cut by 1": lambda data: data[:-1],
    "flipped at 7": lambda data: flipped(data, 7),
    "flipped at 20": lambda data: flipped(data, 20),
    "a pickle": lambda data: pickle.dumps(Bomb()),
    "a header of 2⁶³ bytes": lambda data: struct.pack("<Q", 2**63) + data[8:],
    "bytes after the end": lambda data: data + b"more",
    "a tensor of 4 TB": with_header(lambda first, *_: first.update(TERABYTES)),
    "an unknown dtype": with_header(lambda first, *_: first.update(dtype="Q99")),
    "a negative offset": with_header(lambda first, *_: first.update(data_offsets=[-8, 0])),
    "overlapping tensors": with_header(
        lambda first, second, _: second.update(data_offsets=first["data_offsets"])
    ),
    "metadata 100,000 brackets deep": with_header(
        lambda first, second, header: header.update(__metadata__={"metadata": "[" * 100_000})
    ),
}
for name, change in HOSTILE.items():
    CASES[f"weights, {name}"] = rewrite(MODEL, change), READ
STATES = {
    "cut by 1": HOSTILE["cut by 1"],
    "a pickle": HOSTILE["a pickle"],
    "step is a word": metadata(step="two"),
    "step is missing": metadata(step=None),
    "identity is a list": metadata(identity=[1]),
    "updates are a fraction": metadata(ema_updates=1.5),
}
for name, change in STATES.items():
    CASES[f"state, {name}"] = rewrite(STATE, change), RESUME


def last_is(value):
    """Of NaN or infinity among good numbers."""

    def change(held):
        held["conv_in.weight"].view(-1)[-1] = value

    return change


for name, change in {
    "another name": lambda held: held.update(conv_in=held.pop("conv_in.weight")),
    "a rising schedule": lambda held: held["alphas_cumprod"].copy_(held["alphas_cumprod"].flip(0)),
    "a schedule of NaN": lambda held: held["alphas_cumprod"].fill_(torch.nan),
    "a schedule of one number": lambda held: held.update(alphas_cumprod=torch.ones(1)),
    "a weight of another shape": lambda held: held.update({"conv_in.bias": torch.ones(9)}),
    "an extra weight": lambda held: held.update(extra=torch.ones(9)),
    "a missing weight": lambda held: held.pop("conv_in.bias"),
    "one weight is NaN": last_is(torch.nan),
    "one weight is infinite": last_is(-torch.inf),
}.items():
    CASES[f"weights, {name}"] = rewrite_tensors(change), READ
for name in ("export --to-diffusers new/pipeline", "evaluate", "train --init-from run --out new"):
    call = (*name.split(), *(() if "train" in name else ("--from", "run")))
    CASES[f"weights of NaN, {name}"] = rewrite_tensors(last_is(torch.nan)), call


# ---- JSON

for name, data in {
    "empty": b"",
    "no JSON": b"{network:",
    "100,000 brackets": b"[" * 100_000,
    "bytes": b"\xff\xfe\x00",
    "a number": b"1e999",
}.items():
    CASES[f"config, {name}"] = rewrite(CONFIG, lambda _, data=data: data), READ
CASES["config to resume, empty"] = rewrite(CONFIG, lambda _: b""), RESUME
for name, value in [
    ("network", []),
    ("prediction", 3),
    ("channels", "wide"),
    ("channels", [-8, 16, 16]),
    ("channels", 3 * [10**9]),
    ("blocks", 10**9),
    ("blocks", [2]),
    ("head_dim", 0),
    ("image_size", 2**30),
    ("exec", "import os"),
]:

    def change(config, name=name, value=value):
        part = config if name in config else config["network"]
        part[name] = value

    CASES[f"config, {name} is {value}"] = rewrite_json(CONFIG, change), READ
for name, value in {
    "preset": [],
    "batch_size": "many",
    "timesteps": 10**9,
    "held_out_every": [1],
    "device": 3,
}.items():
    change = rewrite_json(CONFIG, lambda c, name=name, value=value: c["run"].update({name: value}))
    CASES[f"settings, {name}"] = change, RESUME
CASES["settings, a word"] = rewrite_json(CONFIG, lambda c: c.update(run="fast")), RESUME


# ---- paths


def weights_are(make):
    def damage():
        Path(MODEL).unlink()
        make(Path(MODEL))

    return damage


CASES |= {
    "the weights are a folder": (weights_are(Path.mkdir), READ),
    "the weights are a link to themselves": (
        weights_are(lambda path: path.symlink_to(path.name)), READ
    ),
    "a path out of the package": (
        lambda: None, (*SAMPLE, "--from", "../checkpoints/nothing", "--out", "new.png")
    ),
}  # fmt: skip


# ---- folders of 🤗 diffusers


def scheduler(**changes):
    return rewrite_json("theirs/scheduler/scheduler_config.json", lambda c: c.update(changes))


def unet(**changes):
    return rewrite_json("theirs/unet/config.json", lambda c: c.update(changes))


for name, change in {
    "the index is a list": lambda: Path("theirs/model_index.json").write_text("[]"),
    "another network": rewrite_json("theirs/model_index.json", lambda c: c.update(unet=["a", "B"])),
    "no scheduler": lambda: shutil.rmtree("theirs/scheduler"),
    "a billion steps": scheduler(num_train_timesteps=10**12, trained_betas=None),
    "steps are a word": scheduler(num_train_timesteps="many", trained_betas=None),
    "fewer betas than steps": scheduler(trained_betas=[0.1, 0.2]),
    "betas are words": scheduler(trained_betas=["a"]),
    "beta is NaN": scheduler(beta_start=float("nan"), trained_betas=None),
    "fewer widths than blocks": unet(
        block_out_channels=[8], down_block_types=2 * ["AttnDownBlock2D"]
    ),
    "a billion layers": unet(layers_per_block=10**9),
    "blocks are a number": unet(down_block_types=3),
    "a billion channels": unet(block_out_channels=[10**9, 10**9]),
    "weights cut short": rewrite(THEIRS, lambda data: data[: len(data) // 2]),
}.items():

    def damage(change=change):
        export_diffusers("theirs", weights_of())
        change()

    CASES[f"diffusers, {name}"] = damage, DIFFUSERS


# ---- images


def png(width, height):
    """A PNG whose header has this size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (header, b"IDAT" + zlib.compress(b"\0" * 100), b"IEND")
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part))
        for part in parts
    )


for name, data in {
    "empty.png": b"",
    "script.png": b"<svg onload='touch run_by_data'/>",
    "cut.png": png(8, 8)[:50],
    "bomb.png": png(60_000, 60_000),
    "endless.png": png(2**31 - 1, 2**31 - 1),
    "nothing.png": png(0, 0),
    "pickle.webp": pickle.dumps(Bomb()),
}.items():

    def damage(name=name, data=data):
        Path("own").mkdir()
        Path("own", name).write_bytes(data)

    CASES[f"image {name}"] = damage, IMAGES


class Hangs(BaseException):
    """Not an Exception, which the command would report as one more error."""


@pytest.mark.parametrize(("damage", "args"), CASES.values(), ids=CASES)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_malformed_input_ends_in_one_sentence(here, capsys, damage, args):
    (here / "new").mkdir()  # where a command may write
    damage()
    before = contents(here)

    def too_long(*_):
        raise Hangs

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(30)
    try:
        sentence = command(*args)
    finally:
        signal.alarm(0)
    assert isinstance(sentence, str), "the command succeeded"
    assert sentence.startswith("ddpm-course: ")
    assert "\n" not in sentence.strip()
    assert 30 < len(sentence) < 400
    output = capsys.readouterr()
    assert "Traceback" not in output.out + output.err
    after = contents(here)
    mine = ("new/", "run/tensorboard/", "run/.lock")
    assert {k for k in after.keys() ^ before.keys() if not k.startswith(mine)} == set()
    assert {k: after[k] for k in before} == before
