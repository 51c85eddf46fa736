"""The layers of the package, and images/architecture.svg, drawn from its import statements.

    uv run python .ci/architecture.py

`tests/test_project.py` holds that no module imports upwards and that the picture is the code's.
"""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, PICTURE = ROOT / "ddpm_course", ROOT / "images" / "architecture.svg"

# From the bottom up; within a layer, too, a module imports only what stands before it.
LAYERS = {
    "tools and parts": (
        *("rng", "files", "interrupts", "invocation", "schedules", "layers", "unet", "presets"),
        *("synthetic", "picture_files", "data", "pairs", "subsets", "classifier", "features"),
        *("distances", "ema", "pictures", "config", "engine"),
    ),
    "diffusion": (
        *("diffusion", "oracles", "samplers", "parallel", "evaluation", "likelihood", "judge"),
        "super_resolution",
    ),
    "learning": (
        *("diffusers_format", "weights", "checkpoint", "batches", "training", "tracking"),
        *("progress", "runs"),
    ),
    "notebooks": (
        *("plots", "svg", "explorer", "widgets", "sampling_panel"),
        *("changes", "probes", "exercises", "handed_in", "grading"),
    ),
    "command line": (
        *("cli_options", "cli_train", "cli_sample", "cli_upscale", "cli_evaluate", "cli_export"),
        *("cli_grade", "cli", "__main__"),
    ),
}
ORDER = [module for layer in LAYERS.values() for module in layer]

WIDTH, LABEL, CHIP, GAP, PAD, LETTER = 920, 160, 26, 10, 14, 7.4
COLOURS = ("#dce9f5", "#e3f1e1", "#fbefd5", "#f6e1ea", "#e9e4f2")


def module_of(path: Path) -> str:
    """The module's name; a package's files are one module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The package's modules that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ddpm_course"):
            inside = (node.module or "").split(".")[1:]
            found |= {inside[0]} if inside else {alias.name for alias in node.names}
    return found & set(ORDER)


def all_imports() -> dict[str, set[str]]:
    """Every module's imports, of others than itself."""
    found: dict[str, set[str]] = {module: set() for module in ORDER}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            found[module_of(path)] |= imports(path) - {module_of(path)}
    return found


def picture() -> str:
    """The layers as bands, the lowest at the bottom, with lines to what is imported from below."""
    bands, places, top = [], {}, 0.0
    for name, modules in reversed(LAYERS.items()):
        rows, x = [[]], float(LABEL)
        for module in modules:
            width = len(module) * LETTER + 16
            if x + width > WIDTH - PAD:
                rows.append([])
                x = float(LABEL)
            rows[-1].append((module, x, width))
            x += width + GAP
        height = 2 * PAD + len(rows) * CHIP + (len(rows) - 1) * 2 * GAP
        for number, row in enumerate(reversed(rows)):  # what is imported stands below
            y = top + PAD + number * (CHIP + 2 * GAP)
            places |= {module: (x, y, width) for module, x, width in row}
        bands.append((name, top, height))
        top += height + 2 * GAP
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top - 2 * GAP:.0f}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        "<title>The layers of ddpm_course: every module imports only from below</title>",
        f'<rect width="{WIDTH}" height="{top:.0f}" fill="white"/>',
    ]
    for (name, y, height), colour in zip(bands, COLOURS, strict=True):
        lines.append(
            f'<rect y="{y:.0f}" width="{WIDTH}" height="{height:.0f}" rx="8" fill="{colour}"/>'
            f'<text x="{PAD}" y="{y + height / 2 + 5:.0f}" font-weight="600">{name}</text>'
        )
    beside = {module: set(layer) for layer in LAYERS.values() for module in layer}
    for module, imported in all_imports().items():
        x, y, width = places[module]
        for other in sorted(imported - beside[module], key=ORDER.index):
            x2, y2, width2 = places[other]
            ends = f'x1="{x + width / 2:.0f}" x2="{x2 + width2 / 2:.0f}"'
            lines.append(
                f'<line {ends} y1="{y + CHIP:.0f}" y2="{y2:.0f}" stroke="#555" opacity="0.28"/>'
            )
    for module, (x, y, width) in places.items():
        lines.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{CHIP}" rx="5" '
            'fill="white" stroke="#888"/>'
            f'<text x="{x + width / 2:.0f}" y="{y + 18:.0f}" text-anchor="middle" '
            f'font-family="monospace" font-size="12">{module}</text>'
        )
    return "\n".join([*lines, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
