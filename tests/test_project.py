"""Rules of the repository that no reviewer should have to check by eye."""

import ast
import importlib
import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "ddpm_course"


def test_package_imports_neither_matplotlib_nor_widgets():
    """Training on a cluster needs no notebook packages, and `--help` no seconds of imports."""
    heavy = {"matplotlib", "ipywidgets", "IPython", "torchvision", "accelerate", "diffusers"}
    code = f"import sys, ddpm_course.cli.main; print({heavy} & set(sys.modules) or 'none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "none", done.stderr


@pytest.mark.parametrize(
    "unsafe",
    ["pickle.load", "torch.load(", "weights_only", "trust_remote_code", "eval(", "exec(",
     "shell=True", "verify=False", "disable_check_xsrf", "allow_origin", "token=''", 'token=""'],
)  # fmt: skip
def test_nothing_turns_security_off(unsafe):
    places = [PACKAGE, ROOT / "notebooks", ROOT / "tools", ROOT / "benchmarks"]
    files = [
        p for place in places for p in place.rglob("*") if p.suffix in (".py", ".ipynb", ".sh")
    ]
    files += [
        ROOT / "README.md",
        ROOT / "tests" / "browser" / "test_jupyterlab.py",
        ROOT / ".ci" / "run",
    ]
    call = re.compile(rf"(?<![.\w]){re.escape(unsafe)}")  # net.eval() is another
    assert [p.name for p in files if call.search(p.read_text(encoding="utf-8"))] == []


SCRIPTS = sorted([*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tools").glob("*.py")])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_import_what_there_is(path):
    """Most of them run seldom, some only where there is a GPU."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpm_course"):
            module = importlib.import_module(node.module)
            missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
            assert not missing, f"{node.module} has no {missing}"


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
    groups = [project["project"]["dependencies"], *project["dependency-groups"].values()]
    groups += project["project"]["optional-dependencies"].values()
    for requirement in (r for group in groups for r in group if isinstance(r, str)):
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
