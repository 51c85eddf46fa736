"""The package behind the course: diffusion, a U-Net and samplers, small enough to read.

schedules, unet (with layers), data, synthetic, ema, rng, files    no knowledge of each other
diffusion, oracles            the forward process, and what a denoiser is
samplers                      from noise to data
pairs, super_resolution       from a small picture to a large one
training, weights             learning one, and keeping it
evaluation, likelihood, judge how good it is
plots, widgets, exercises     for the notebooks
cli                           the command `ddpm-course`
"""

from ddpm_course.batches import image_batches
from ddpm_course.config import TrainConfig
from ddpm_course.data import DATASETS, flowers102, folder, load_data, to_uint8, to_unit
from ddpm_course.diffusion import Denoiser, convert, guided, q_posterior, q_sample
from ddpm_course.ema import EMA
from ddpm_course.evaluation import x0_error
from ddpm_course.oracles import dataset_oracle, gaussian_oracle, mixture_oracle
from ddpm_course.presets import PRESETS
from ddpm_course.samplers import SAMPLERS, ddim, ddpm, dpm_solver_pp_2m, sample
from ddpm_course.schedules import (
    SCHEDULES,
    SPACINGS,
    NoiseSchedule,
    cosine_schedule,
    from_betas,
    linear_schedule,
    rescale_zero_terminal_snr,
    sigmoid_schedule,
    timesteps,
)
from ddpm_course.synthetic import synthetic_flowers
from ddpm_course.training import TrainState, train
from ddpm_course.unet import SinusoidalTimeEmbedding, UNet
from ddpm_course.weights import load_pretrained, save_pretrained

__all__ = [
    "DATASETS", "EMA", "PRESETS", "SAMPLERS", "SCHEDULES", "SPACINGS", "Denoiser", "NoiseSchedule",
    "SinusoidalTimeEmbedding", "TrainConfig", "TrainState", "UNet", "convert", "cosine_schedule",
    "dataset_oracle", "ddim", "ddpm", "dpm_solver_pp_2m", "flowers102", "folder", "from_betas",
    "gaussian_oracle", "guided", "image_batches", "linear_schedule", "load_data", "load_pretrained",
    "mixture_oracle", "q_posterior", "q_sample", "rescale_zero_terminal_snr", "sample",
    "save_pretrained", "sigmoid_schedule", "synthetic_flowers", "timesteps", "to_uint8", "to_unit",
    "train", "x0_error",
]  # fmt: skip
