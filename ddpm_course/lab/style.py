"""The look of every figure: one colour per meaning, one typeface, no ground of its own.

Importing it sets matplotlib's defaults, so that your own figures look like those of the course.
"""

import fontpkg
import matplotlib as mpl
from cycler import cycler
from matplotlib.font_manager import fontManager

# Readable on white and on JupyterLab's dark ground, and within each line distinguishable by
# colour-blind readers; a test computes both.
COLOURS = {
    "x0": "#2361d4", "x_t": "#0e9397", "noise": "#877853", "prediction": "#fd379e",
    "floor": "#646162",  # real images, which no model can be better than
    "linear": "#c9830c", "cosine": "#9063dd", "sigmoid": "#b03545",
    "ddpm": "#a5510c", "ddim": "#3585b8", "dpm_solver_pp_2m": "#7d982b",
}  # fmt: skip
NAMES = {"ddpm": "DDPM", "ddim": "DDIM", "dpm_solver_pp_2m": "DPM-Solver++"}
"""Samplers as figures spell them."""

INK = "#797979"
"""Text and axes: a contrast of 4.3 on white and on #111111. No grey has more on both."""

for slope in ("normal", "italic"):
    fontManager.addfont(fontpkg.path("Inter", style=slope))

mpl.rcParams.update(
    {
        "font.family": ["Inter", "DejaVu Sans"],  # the second for rare signs
        "font.size": 11,
        "mathtext.fontset": "custom",
        "mathtext.rm": "Inter",
        "mathtext.it": "Inter:italic",
        "mathtext.cal": "Inter",
        "axes.titlesize": 12,
        "axes.titlelocation": "left",
        "axes.titlepad": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": cycler(color=[*COLOURS.values()][:4]),
        "grid.alpha": 0.25,
        "lines.linewidth": 2,
        "figure.titlesize": 14,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "savefig.facecolor": "none",
        "text.color": INK,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "grid.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)
