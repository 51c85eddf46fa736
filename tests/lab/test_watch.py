"""Sampling that can be watched: what is shown, and what comes back."""

import io

import numpy as np
import torch
from PIL import Image

from ddpm_course.lab import live


def test_each_step_replaces_the_last_and_the_result_comes_back(monkeypatch):
    frames = []

    class View:
        update = frames.append

    monkeypatch.setattr(live, "display", lambda frame, display_id: frames.append(frame) or View)
    steps = [(s, torch.full((2, 3, 8, 8), s / 10), torch.full((2, 3, 8, 8), -1.0)) for s in (5, 0)]
    last = live.watch(iter(steps), alt="two grey squares above two black ones", tile=16)
    assert torch.equal(last, steps[-1][1])
    for frame, grey in zip(frames, (191, 128), strict=True):  # x_s = 0.5 and then 0
        assert frame.alt == "two grey squares above two black ones"
        pixels = np.asarray(Image.open(io.BytesIO(frame.data)))
        assert pixels.shape == (32, 32, 3)
        assert pixels[0, 0, 0] == grey
        assert pixels[-1].max() == 0  # the estimate is below
