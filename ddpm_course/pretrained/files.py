"""Files written whole or not at all, and tensors read without running any code."""

import hashlib
import json
import os
import re
import shutil
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

WRAPPED = re.compile(r"^((module|_orig_mod)\.)+")


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to; it replaces `path` only when all went well.

    A full disk, an interrupt or a power cut leaves what was there before.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)  # the name that the user knows
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically; in it, a file's name that is not UTF-8 is escaped."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> dict:
    """The JSON object in a file. Raises FileNotFoundError, or ValueError if it holds no object."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({one_line(error)}).") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a JSON object.")
    return value


def one_line(error: Exception) -> str:
    """The error's text, or its kind where it has none."""
    return textwrap.shorten(str(error), 180, placeholder=" …") or type(error).__name__


def refuse_to_fill(path: Path) -> None:
    """Raise ValueError if the folder `path` has something in it already, or is a file."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise ValueError(f"{path} exists: name another folder, or remove it.")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` to fill; it becomes `path` only when all went well.

    Raises as `refuse_to_fill` does.
    """
    refuse_to_fill(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)  # mkdtemp's is for its owner alone
        if path.exists():
            path.rmdir()
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict | None = None) -> None:
    """Write a safetensors file atomically; `metadata` is anything that JSON can hold."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    header = {"format": "pt"}  # other programs then read it as PyTorch weights
    if metadata:  # under a single key, since the format writes several in random order
        header = {"metadata": json.dumps(metadata)}
    data = safetensors.torch.save(tensors, header)
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict]:
    """Read what `save_tensors` wrote: (tensors, metadata).

    Names lose the prefixes that DistributedDataParallel and `torch.compile` put before them.
    Raises FileNotFoundError, or ValueError if the file is cut short, not a safetensors file, or
    holds NaN or infinity.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    try:
        data = path.read_bytes()  # not by its name, which safetensors wants in UTF-8
        tensors = {WRAPPED.sub("", name): x for name, x in safetensors.torch.load(data).items()}
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        metadata = json.loads(header.get("__metadata__", {}).get("metadata", "{}"))
        if not isinstance(metadata, dict):
            raise ValueError("its metadata are no JSON object")
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                raise ValueError(f"{name} holds NaN or infinity")
    except (SafetensorError, ValueError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged or cut short ({one_line(error)}): restore it from a copy, or make "
            "it again."
        ) from error
    return tensors, metadata


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the tensors' bytes, in the order of their names."""
    hasher = hashlib.sha256()
    for _, tensor in sorted(tensors.items()):
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
    return hasher.hexdigest()
