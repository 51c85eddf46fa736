"""What users of the repository rely on and no reviewer should have to check by eye."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib

import pytest
import yaml
from helpers import ROOT

import ddpm_course

SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tools").glob("*.py")])


def test_the_command_line_starts_without_slow_imports():
    """`--help` answers at once, and training on a cluster needs no notebook packages."""
    slow = {"matplotlib", "ipywidgets", "IPython", "torchvision", "accelerate", "diffusers"}
    code = f"import sys, ddpm_course.cli.main; print({slow} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "none", done.stderr


@pytest.mark.parametrize(("own", "expected"), [(None, "PASSIVE"), ("active", "active")])
def test_waiting_threads_sleep_unless_the_user_decides(own, expected, monkeypatch):
    """Set before torch loads, which alone makes it count."""
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if own:
        monkeypatch.setenv("OMP_WAIT_POLICY", own)
    code = "import os, sys, ddpm_course as dc; print('torch' in sys.modules, *os.environ.items())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.startswith("False")
    assert f"('OMP_WAIT_POLICY', '{expected}')" in done.stdout


@pytest.mark.parametrize(
    "unsafe",
    ["pickle.load", "torch.load(", "weights_only", "trust_remote_code", "eval(", "exec(",
     "shell=True", "verify=False", "disable_check_xsrf", "allow_origin", "token=''", 'token=""'],
)  # fmt: skip
def test_nothing_turns_security_off(unsafe):
    folders = ("ddpm_course", "notebooks", "tools", "benchmarks")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*")]
    files = [p for p in files if p.suffix in (".py", ".ipynb", ".sh")]
    files += [ROOT / "README.md", ROOT / "tests/browser/test_jupyterlab.py", ROOT / ".ci/run"]
    call = re.compile(rf"(?<![.\w]){re.escape(unsafe)}")  # `net.eval()` is harmless
    found = [p.name for p in files if call.search(p.read_text(encoding="utf-8"))]
    # slips.py runs our own solutions with a change made in them; nothing that a user hands in.
    assert found == (["slips.py"] if unsafe == "exec(" else [])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_use_names_that_exist(path):
    """Most scripts run seldom, some only where there is a GPU."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpm_course"):
            module, names = importlib.import_module(node.module), [a.name for a in node.names]
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "dc":
            module, names = ddpm_course, [node.attr]
        else:
            continue
        assert not [name for name in names if not hasattr(module, name)], module


@pytest.mark.parametrize("name", ddpm_course.__all__)
def test_public_names_are_documented(name):
    thing = getattr(ddpm_course, name)
    if callable(thing):
        assert thing.__doc__
        assert not thing.__doc__.startswith(f"{name}(")  # which a dataclass writes by itself


def test_environment_is_python_pip_and_the_package():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = f"python{project['requires-python']}"
    assert environment["dependencies"] == [python, "pip", {"pip": ["-e ."]}]
    assert environment["name"] == project["name"].replace("-", "_")


def test_dependencies_have_both_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    groups += project["project"]["optional-dependencies"].values()
    for requirement in (r for group in groups for r in group if isinstance(r, str)):
        assert re.search(r">=[\d.]+,<[\d.]+$", requirement), requirement


def test_no_photograph_and_nothing_big_is_tracked():
    command = ["git", "ls-files", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]
    assert sum(path.stat().st_size for path in paths) < 45e6
    assert not [p for p in paths if p.suffix.lower() in (".jpg", ".jpeg", ".mat", ".tgz")]
    assert not [p for p in paths if p.parts[len(ROOT.parts)] == "data"]
