"""Rules of the repository that no reviewer should have to check by eye."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ddpm_course"

# A module imports only what stands before it.
ORDER = [
    *("rng", "files", "interrupts", "schedules", "layers", "unet", "presets", "synthetic"),
    *("data", "ema"),
    *("pictures", "config", "engine", "diffusion", "oracles"),
    *("samplers", "parallel", "evaluation"),
    *("diffusers_format", "weights", "checkpoint", "batches", "training", "tracking"),
    *("progress", "runs", "plots", "svg", "explorer", "widgets", "sampling_panel", "exercises"),
    *("cli_options", "cli_train", "cli_sample", "cli_export", "cli", "__main__"),
]


def module(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_no_upward_import(path):
    if path == PACKAGE / "__init__.py":
        return
    allowed = ORDER[: ORDER.index(module(path)) + (module(path) == "exercises")]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpm_course"):
            name = (node.module or "").split(".")[1]
            assert name in allowed, f"{path.name} imports {name}, which stands above it"


def test_package_imports_neither_matplotlib_nor_widgets():
    """Training on a cluster needs no notebook packages, and `--help` no seconds of imports."""
    heavy = {"matplotlib", "ipywidgets", "IPython", "torchvision", "accelerate", "diffusers"}
    code = f"import sys, ddpm_course.cli; print({heavy} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "none", done.stderr


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_no_file_over_300_lines(path):
    assert len(path.read_text().splitlines()) <= 300


def test_public_names_are_documented():
    import ddpm_course

    for name in ddpm_course.__all__:
        thing = getattr(ddpm_course, name)
        if callable(thing):
            assert thing.__doc__, name
            assert not thing.__doc__.startswith(f"{name}("), name  # a dataclass's made-up docstring


def test_environment_is_python_pip_and_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python, pip, by_pip = environment["dependencies"]
    assert python == f"python{project['requires-python']}"
    assert pip == "pip"
    assert by_pip == {"pip": ["-e ."]}
    assert environment["name"] == project["name"].replace("-", "_")


def test_dependencies_have_both_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], project["dependency-groups"]["dev"]]
    groups += project["project"]["optional-dependencies"].values()
    for requirement in (r for group in groups for r in group):
        assert re.search(r">=[\d.]+,<[\d.]+$", requirement), requirement


def test_no_photograph_and_nothing_big_is_tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    sizes = {path: path.stat().st_size for path in paths if path.is_file()}
    assert sum(sizes.values()) < 45e6
    assert not [p for p in sizes if p.suffix.lower() in (".jpg", ".jpeg", ".mat", ".tgz", ".lock")]
    assert not [p for p in sizes if p.parts[len(ROOT.parts)] == "data"]
