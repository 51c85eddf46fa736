"""The package behind the course: diffusion, a U-Net and samplers, small enough to read.

The paper stands at the root: `schedules`, `diffusion` (Eq. 4, the posterior, the loss), `unet` with
its `layers`, `samplers` (Algorithm 2), `oracles`; `presets` and `rng`. Everything else has a room:
`pretrained`, `data`, `evaluation`, `super_resolution`, `training` (Algorithm 1), `lab`, `exercises`
and `cli`. The public names are listed in `__init__.pyi` and imported when they are first used, so
that the command line answers without waiting for PyTorch.
"""

import os

import lazy_loader

# PyTorch's threads wait by spinning, so one busy program beside them slows all of them down
# (`benchmarks/busy.py`). This makes them sleep, provided that torch is not loaded yet.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
