"""What must hold for an answer that samples: looked at over many calls with one generator."""

from collections.abc import Callable

import torch
from torch import Tensor

from ddpm_course.exercises.results import alike, require, tensor_of
from ddpm_course.rng import generator

CALLS = 300


def require_seeded(sample: Callable[[torch.Generator], Tensor]) -> None:
    """Raise `Wrong` unless the generator alone decides, and each call goes on from its state."""
    used = generator(1)
    first, again, later, other = (sample(g) for g in (generator(1), used, used, generator(2)))
    equal = "Two equal generators give different results. Sample from `generator`."
    require(alike(first, again), equal)
    same = alike(again, later) or alike(first, other)
    require(not same, "The result is the same at every call. Use `generator` as it is, unseeded.")


def require_independent(sums: Tensor, variance: float, many: str) -> None:
    """Raise `Wrong` unless the sums over batches vary as sums of independent values do."""
    ratio = sums.double().var().item() / variance
    alone = "Decide for each one by itself."
    require(ratio > 0.6, f"Every batch gets the same share of {many}. {alone}")
    require(ratio < 1.5, f"Some {many} of a batch always come together. {alone}")


def test_times(f: Callable) -> None:
    """f(number, T, generator) must be `number` times, independent and even over 1..T."""
    require_seeded(lambda g: f(100, 1000, g))
    for T, number in ((4, 21), (7, 30)):
        used = generator(0)
        batches = [tensor_of(f(number, T, used), (number,)) for _ in range(CALLS)]
        times = torch.stack(batches)
        low, high = int(times.min()), int(times.max())
        from_0 = "The times run from 0 to T − 1. t = 0 is clean, and T, the noisiest, never comes."
        require((low, high) != (0, T - 1), from_0)
        never = "T never comes: `torch.randint` excludes its upper end."
        require((low, high) != (1, T - 1), never)
        require(
            (low, high) == (1, T), f"The times run from {low} to {high}, not from 1 to T = {T}."
        )
        one = bool((times == times[:, :1]).all())
        require(not one, "There is one time for the whole batch. Every image gets its own.")
        share = times.flatten().bincount()[1:] * T / times.numel()
        rounded = "1 and T come half as often as the others. Rounding gives the ends half the room."
        require(float(share[[0, -1]].max()) > 0.75, rounded)
        even = bool(((share - 1).abs() < 0.1).all())
        shown = [round(value, 2) for value in share.tolist()]
        require(even, f"1 to {T} don't come equally often, but {shown} times their share.")
        places = (times.double().mean(0) - (T + 1) / 2).abs()
        require(float(places.max()) < 0.2 * T, "Some places in the batch get early times only.")
        require_independent(times.sum(1), number * (T**2 - 1) / 12, "times")
    require(alike(f(3, 1, generator(0)), torch.ones(3)), "With T = 1 every time must be 1.")


def test_label_dropout(f: Callable) -> None:
    """f(y, null_class, probability, generator) must drop each label by itself."""
    y = torch.arange(60) % 20 + 1
    for null_class, probability in ((102, 0.1), (107, 0.4)):
        used = generator(0)
        batches = [f(y, null_class, probability, used) for _ in range(CALLS)]
        labels = torch.stack([tensor_of(batch, (60,)) for batch in batches])
        dropped, found = labels != y, labels[labels != y].unique().tolist()
        require(found != [], f"No label is dropped, though the probability is {probability}.")
        require(found != [0], "Dropped labels become 0, which is a species. Use `null_class`.")
        changed = f"Labels become {found[:3]}. Dropped ones become {null_class}, and others stay."
        require(found == [null_class], changed)
        same = bool((dropped == dropped[0]).all())
        require(not same, "The same places lose their label in every batch. Use `generator`.")
        share = dropped.double().mean().item()
        kept = "You keep with that probability. Drop with it instead."
        require(abs(share - 1 + probability) > 0.02, kept)
        often = f"{share:.3f} of the labels are dropped, not {probability}."
        require(abs(share - probability) < 0.02, often)
        variance = 60 * probability * (1 - probability)
        require_independent(dropped.sum(1), variance, "dropped labels")
        places = (dropped.double().mean(0) - probability).abs()
        require(float(places.max()) < 0.15, "Some places lose their label too often or too rarely.")
    require_seeded(lambda g: f(y, 102, 0.4, g))
    for few in (y[:1], y[:7]):
        all_dropped = alike(f(few, 102, 1.0, generator(0)), few * 0 + 102)
        certain = all_dropped and alike(f(few, 102, 0.0, generator(0)), few)
        require(certain, "Probability 0 must keep every label, and 1 drop every one.")


def test_rows_per_class(f: Callable) -> None:
    """f(labels, number, generator) must be `number` different rows of each class, at random."""
    species = torch.tensor([2, 0, 1, 1, 0, 2, 2, 1, 0, 2, 1, 0, 0, 1, 2, 2])
    for labels, number in ((species, 3), (7 * species[1:] + 2, 2)):
        classes, inverse = labels.unique(return_inverse=True)
        batches = []
        for seed in range(40):
            rows = f(labels, number, generator(seed))
            indices = isinstance(rows, Tensor) and rows.dtype == torch.int64
            require(indices, "Row numbers are needed, a tensor of int64 to index with.")
            within = rows.numel() > 0 and int(rows.min()) >= 0 and int(rows.max()) < len(labels)
            require(within, "There are no rows, or some beyond the last one.")
            rows, listed = tensor_of(rows, (3 * number,)), rows.tolist()
            are_labels = alike(rows.sort().values, classes.repeat_interleave(number))
            require(not are_labels, "These are labels. Return the *rows* that have them.")
            distinct = len(rows.unique())
            places = distinct < 3 * number and max(listed) < int(inverse.bincount().max())
            require(not places, "These are places within a class. Look up which rows those are.")
            require(distinct == 3 * number, "A row came twice. Sample without replacement.")
            counts = inverse[rows].bincount(minlength=3).tolist()
            wrong = f"Of the three classes {counts} rows came, not {number} of each."
            require(counts == [number] * 3, wrong)
            batches.append(rows.sort().values)
        every = [rows[inverse[rows] == 2].tolist() for rows in batches]
        sets = len({tuple(rows) for rows in every})
        require(sets > 1, "Every seed gives the same rows. Use `generator` as it is, unseeded.")
        require(sets > 6, "Some rows always come together. Shuffle the rows of a class.")
        seen = torch.cat(batches).bincount(minlength=len(labels))
        require(bool((seen > 0).all()), "Some rows never come, in 40 tries.")
    require_seeded(lambda g: f(species, 2, g))
