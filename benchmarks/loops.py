"""Training loops side by side: ours, and what people would otherwise use.

Each is made of a network, pictures u8[N,3,S,S], a batch size and the number of steps in a round,
and is a function that does one round.
"""

import tempfile
from collections.abc import Callable
from itertools import count
from multiprocessing import cpu_count
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

from ddpm_course import Denoiser, TrainConfig, UNet, image_batches, linear_schedule, train
from ddpm_course.data.images import ImageData
from ddpm_course.pretrained.diffusers_format import diffusers_config

Round = Callable[[], None]


def tf32(allowed: bool) -> None:
    """PyTorch's switch for faster, less exact float32 products on GPUs."""
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed


def ours(
    net: UNet, images: Tensor, batch_size: int, steps: int, device, compile: bool | None = None
) -> Round:
    """`ddpm_course.train` as it comes, its loss read once a round."""
    config = TrainConfig(
        steps=10**9, batch_size=batch_size, log_every=steps, checkpoint_every=10**9,
        compile=compile,
    )  # fmt: skip
    batches = image_batches(ImageData(images, None), config, device=device)
    states = train(Denoiser(net.to(device), linear_schedule()), batches, config)

    def one_round() -> None:
        tf32(False)
        next(states)

    return one_round


class Pictures(Dataset):
    """Decoded pictures with the transforms of diffusers' example."""

    def __init__(self, images: Tensor):
        from torchvision import transforms as T

        size = images.shape[-1]
        self.pictures = [Image.fromarray(image.permute(1, 2, 0).numpy()) for image in images]
        self.augment = T.Compose([
            T.Resize(size, interpolation=T.InterpolationMode.BILINEAR),
            T.CenterCrop(size),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize([0.5], [0.5]),
        ])  # fmt: skip

    def __len__(self):
        return len(self.pictures)

    def __getitem__(self, k):
        return self.augment(self.pictures[k])


def loader(images: Tensor, batch_size: int, device) -> DataLoader:
    """On a GPU a worker a core; on a CPU none, since workers would take the network's cores."""
    workers = cpu_count() if device.type == "cuda" else 0
    return DataLoader(
        Pictures(images), batch_size, shuffle=True, drop_last=True, num_workers=workers,
        pin_memory=device.type == "cuda", persistent_workers=workers > 0,
    )  # fmt: skip


def diffusers_example(
    net: UNet, images: Tensor, batch_size: int, steps: int, device, compile: bool = False
) -> Round:
    """(a) The loop of diffusers' unconditional training example, in bf16 with TF32, around its
    own `UNet2DModel` with our weights. Compiled, its EMA is also given its switch `foreach`.
    """
    from accelerate import Accelerator
    from diffusers import DDPMScheduler
    from diffusers.optimization import get_scheduler
    from diffusers.training_utils import EMAModel

    accelerator = Accelerator(mixed_precision="bf16", cpu=device.type == "cpu")
    model = diffusers_twin(net)
    ema = EMAModel(
        model.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=0.75,
        foreach=compile, model_cls=type(model), model_config=model.config,
    )  # fmt: skip
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8
    )
    lr_scheduler = get_scheduler(
        "cosine", optimizer, num_warmup_steps=500, num_training_steps=10**6
    )
    model, optimizer, data, lr_scheduler = accelerator.prepare(
        model, optimizer, loader(images, batch_size, device), lr_scheduler
    )
    ema.to(accelerator.device)
    if compile:
        model = torch.compile(model)
    batches = endless(data)

    def one_round() -> None:
        tf32(True)
        model.train()
        for _ in range(steps):
            clean = next(batches)
            noise = torch.randn(clean.shape, device=clean.device)
            t = torch.randint(0, 1000, (len(clean),), device=clean.device)
            noisy = scheduler.add_noise(clean, noise, t)
            with accelerator.accumulate(model):
                loss = F.mse_loss(model(noisy, t).sample.float(), noise.float())
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                lr_scheduler.step()
                optimizer.zero_grad()
            ema.step(model.parameters())
            loss.detach().item()  # its progress bar and log show the loss of every step

    return one_round


def lucidrains_net(parameters: int, device) -> nn.Module:
    """lucidrains' network of about as many parameters, on the CPU. On a GPU with its `flash_attn`:
    full attention, which it has at the lowest resolution alone, is then PyTorch's fused one.
    """
    from denoising_diffusion_pytorch import Unet

    nets = [Unet(dim=dim, flash_attn=device.type == "cuda") for dim in range(16, 96, 4)]
    return min(nets, key=lambda net: abs(parameters_of(net) - parameters))


def jpegs(images: Tensor) -> Path:
    """A new folder of the pictures as JPEG files, which is what (b) reads."""
    folder = Path(tempfile.mkdtemp())
    for k, picture in enumerate(Pictures(images).pictures):
        picture.save(folder / f"{k}.jpg", quality=95)
    return folder


def lucidrains_trainer(
    net: nn.Module, folder: Path, batch_size: int, steps: int, size: int, compile: bool = False
) -> Round:
    """(b) lucidrains' `Trainer` in bf16 with TF32, around its own network. It reads a folder of
    JPEG files and decodes them as it goes, as it always does. `net` is moved to the GPU in place.
    """
    from denoising_diffusion_pytorch import GaussianDiffusion, Trainer

    if compile:
        net.compile()
    trainer = Trainer(
        GaussianDiffusion(net, image_size=size, timesteps=1000), str(folder),
        train_batch_size=batch_size, train_num_steps=0, amp=True, mixed_precision_type="bf16",
        calculate_fid=False, save_and_sample_every=10**9, results_folder=tempfile.mkdtemp(),
    )  # fmt: skip

    def one_round() -> None:
        tf32(True)
        trainer.train_num_steps += steps
        trainer.train()

    return one_round


def plain_fp32(net: UNet, images: Tensor, batch_size: int, steps: int, device) -> Round:
    """(c) A plain loop around our network, as the original experiment's was: float32 without
    TF32, eager, NCHW, a DataLoader, no EMA. The one baseline that keeps its switches off.
    """
    schedule = linear_schedule()
    denoiser = Denoiser(net.to(device), schedule)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    batches = endless(loader(images, batch_size, device))

    def one_round() -> None:
        tf32(False)
        net.train()
        for _ in range(steps):
            x0 = next(batches).to(device)
            t = torch.randint(1, schedule.T + 1, (len(x0),), device=device)
            loss = denoiser.loss(x0, t, torch.randn_like(x0)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()

    return one_round


def endless(data):
    for _ in count():
        yield from data


def diffusers_twin(net: UNet) -> nn.Module:
    """diffusers' network with the same configuration and weights."""
    from diffusers import UNet2DModel

    twin = UNet2DModel(**diffusers_config(net))
    twin.load_state_dict(net.state_dict())
    return twin


def parameters_of(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def flops_of(net: nn.Module, size: int) -> int:
    """Of one forward pass over one image, by a network on the CPU that is not compiled."""
    counter, t = FlopCounterMode(display=False), torch.zeros(1, dtype=torch.long)
    with counter, torch.no_grad():
        net(torch.zeros(1, 3, size, size), t)
    return counter.get_total_flops()
