"""Train the flower classifiers that the package ships, on one CPU core.

    uv run python tools/train_classifier.py all   # and half-a, half-b

`all` learns from `train` + `test`; `half-a` and `half-b` from one half of them each, so that each
can look at the other half as at pictures it has never seen. No choice is made on `val`: the weights
are those of the last step, and `val` is looked at for the record only.
"""

import sys
import time

import torch
import torch.nn.functional as F
from torchvision.transforms import v2

from ddpm_course.data.flowers102 import flowers102
from ddpm_course.data.images import ImageData
from ddpm_course.data.subsets import halves
from ddpm_course.evaluation.classifier import (
    CLASSIFIERS,
    SIZE,
    FlowerClassifier,
    accuracy,
    save_classifier,
)
from ddpm_course.training.ema import EMA

EPOCHS = {"all": 150, "half": 200}
BATCH, RATE, DECAY, SMOOTHING = 64, 4e-3, 0.05, 0.1
WIDTHS = {"all": (32, 48, 96, 192, 256), "half": (32, 32, 64, 128, 192)}

AUGMENT = v2.Compose([
    v2.RandomResizedCrop(SIZE, scale=(0.35, 1), ratio=(0.8, 1.25), antialias=True),
    v2.RandomHorizontalFlip(),
    v2.RandomApply([v2.RandomRotation(20, v2.InterpolationMode.BILINEAR)], 0.3),
    v2.RandomApply([v2.ColorJitter(0.3, 0.3, 0.3, 0.02)], 0.7),
    v2.RandomApply([v2.Compose([v2.Resize(SIZE // 2), v2.Resize(SIZE)])], 0.4),  # 32 px, too
    v2.ToDtype(torch.float32, scale=True),
    v2.Normalize([0.5] * 3, [0.5] * 3),
    v2.RandomErasing(0.3, scale=(0.05, 0.25)),
])  # fmt: skip
MIX = v2.RandomChoice([v2.CutMix(num_classes=102), v2.MixUp(alpha=0.2, num_classes=102)])


def main(name: str) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    everything, val = flowers102("data", SIZE), flowers102("data", SIZE, "val")
    data = everything if name == "all" else halves(everything)["ab".index(name[-1])]
    kind = name.split("-")[0]
    model = FlowerClassifier(WIDTHS[kind]).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": DECAY},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ])  # fmt: skip
    N = len(data.images)
    rate = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, RATE, EPOCHS[kind] * (N // BATCH), pct_start=0.1
    )
    ema, started = EMA(model, 0.999), time.perf_counter()
    for epoch in range(1, EPOCHS[kind] + 1):
        total = 0.0
        for index in torch.randperm(N)[: N // BATCH * BATCH].split(BATCH):
            x = torch.stack([AUGMENT(image) for image in data.images[index]])
            y = data.labels[index]
            x, target = MIX(x, y) if torch.rand(()) < 0.5 else (x, F.one_hot(y, 102).float())
            loss = F.cross_entropy(model(x), target, label_smoothing=SMOOTHING)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            rate.step()
            ema.update(model)
            total += loss.item()
        if epoch % 5 == 0:
            record = {
                "trained_on": f"Oxford 102 Flowers, train + test, {name}",
                "epochs": epoch,
                "minutes_on_one_core": round((time.perf_counter() - started) / 60, 1),
                "accuracy_on_val": {size: accuracy_at(ema.model, val, size) for size in (64, 32)},
            }
            print(f"loss {total / (N // BATCH):.3f}", record, flush=True)
            save_classifier(CLASSIFIERS / f"{name}.safetensors", ema.model, record)


def accuracy_at(model: FlowerClassifier, data: ImageData, size: int) -> float:
    """On the pictures as they look at that size."""
    small = v2.functional.resize(data.images, [size, size])
    return round(accuracy(model, ImageData(small, data.labels)), 4)


if __name__ == "__main__":
    main(sys.argv[1])
