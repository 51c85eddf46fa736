"""Exercises of notebook 04: a training step, and what a long run adds to it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises
from ddpm_course.exercises.randomness import test_label_dropout, test_times
from ddpm_course.exercises.results import kind, randn, require

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution


@exercises.add(
    "`torch.randint` samples whole numbers from a lower end, which is included, to an upper end, "
    "which is not. It takes a shape and a generator.",
    test=test_times,
)
def draw_times(number, T, generator):
    """One time for each of `number` images, every t from 1 to T equally likely."""
    return torch.randint(1, T + 1, (number,), generator=generator)


class _Net(nn.Module):
    """a x + b log t + c, which counts its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, 0.1, -0.2]))
        self.calls = 0

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.calls += 1
        whole = "The network received times that are not int64. Give it t − 1 as it is."
        require(t.dtype == torch.int64, whole)
        a, b, c = self.weights
        return a * x + b * (1 + t).log().view(-1, 1, 1, 1) + c


class _Descent:
    """Plain gradient descent, which records its steps (making one of torch's takes 10 seconds)."""

    def __init__(self, weights: nn.Parameter) -> None:
        self.weights, self.param_groups = weights, [{"params": [weights]}]
        self.events: list[int] = []  # 0 for a gradient, 1 for a step
        weights.register_hook(lambda _: self.events.append(0))

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.weights.grad = None

    def step(self, closure: Callable | None = None) -> Tensor | None:
        loss = closure() if closure else None
        self.events.append(1)
        if self.weights.grad is not None:
            self.weights.data -= 0.5 * self.weights.grad
        return loss


def _two_steps(f: Callable) -> Callable:
    def losses_and_weights(*batch):
        net = _Net()
        optimizer, results = _Descent(net.weights), {}
        for when in ("after the first step", "after the second step"):
            loss = f(net, optimizer, *batch)
            require(net.calls > 0, "The network was never called.")
            graph = "A tensor keeps its graph alive, so a list of losses fills the memory. "
            require(not isinstance(loss, Tensor), f"{graph}Return a float.")
            require(isinstance(loss, float), f"The loss must be a float, not a {kind(loss)}.")
            results |= {f"the loss {when}": loss, f"the weights {when}": net.weights.detach() + 0}
        return results | {"gradients and steps": optimizer.events}

    return losses_and_weights


def _batches() -> list[tuple]:
    x0, noise, t = 2 * randn(4, 2, 3, 3), randn(4, 2, 3, 3, seed=1), torch.tensor([1, 3, 7, 10])
    return [
        (x0, t, noise, dc.linear_schedule(10, 0.05, 0.5)),
        (x0[:1], t[1:2], noise[:1], dc.cosine_schedule(50)),
    ]


@exercises.add(
    "Noise the images, let the network predict the noise, take the mean of the squared error. The "
    "optimiser then forgets the old gradient, gets the new one, and moves. Return only a number.",
    _batches,
    """
    optimizer.zero_grad() -> pass
        The second step goes along both gradients. `backward` adds to the old one, so call
        `optimizer.zero_grad()` before it.
    loss.backward() -> pass
        No gradient was computed. `loss.backward()` is missing.
    optimizer.step() -> pass
        The weights did not change. `optimizer.step()` is missing.
    zero_grad -> ZERO; loss.backward() -> optimizer.zero_grad(); optimizer.ZERO -> loss.backward
        `zero_grad` comes after `backward` and erases the gradient. Put it before.
    step() -> STEP(); loss.backward() -> optimizer.step(); optimizer.STEP -> loss.backward
        `step` comes before `backward`, without a gradient yet.
    (net(x_t, t - 1) - noise) -> (net(x_t, t - 1) - x0)
        The answer is compared with x0. This network predicts the noise.
    net(x_t, t - 1) -> net(x0, t - 1)
        The network received the clean x0. It must see the noised x_t.
    net(x_t, t - 1) -> net(x_t, t)
        The network received t. It counts from 0, so give it t − 1.
    .mean() -> .mean().item()
        `.item()` comes too early: `backward` needs the tensor. Use it at the end.
    """,
    through=_two_steps,
)
def training_step(net, optimizer, x0, t, noise, schedule):
    """One step of Algorithm 1; the loss as a float."""
    x_t = dc.q_sample(x0, t, noise, schedule)
    loss = (net(x_t, t - 1) - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@exercises.add(
    "Which share of the warm-up is done once this step is? It grows in a straight line, and from "
    "some step on it would pass 1. Think of a warm-up of 0 steps, too.",
    lambda: [
        *((step, 0.2, 100) for step in (0, 1, 49, 98, 99, 100, 5000)),
        *((step, 0.5, 8) for step in (0, 1, 8)),
        (0, 0.2, 0),
    ],
    """
    step + 1 -> step
        At step 0 the rate is 0 and the step wasted. Count it in, as step + 1.
    min(1.0, (step + 1) / max(warmup_steps, 1)) -> (step + 1) / max(warmup_steps, 1)
        The rate goes on rising. After warm-up it stays at the full rate.
    (step + 1) / -> (step + 1) //
        The rate is 0 all through warm-up. `//` cuts fractions off, so use `/`.
    max(warmup_steps, 1) -> warmup_steps
        With warmup_steps = 0 it divides by 0. The full rate holds there.
    max(warmup_steps, 1) -> (warmup_steps + 1)
        It is one step late: the full rate should come at step warmup_steps − 1, counted from 0.
    """,
)
def warm_up(step, learning_rate, warmup_steps):
    """The rate of a step, counted from 0: it rises over `warmup_steps` steps and then stays."""
    return learning_rate * min(1.0, (step + 1) / max(warmup_steps, 1))


def _gradients() -> list[tuple]:
    lists = ([[1.2], [-1.6]], [1.0, -2.0, 2.0], [2.0, -4.0, 4.0])  # norms 2, 3 and 6; 7 over all
    gradients = [torch.tensor(values) for values in lists]
    zeros = [torch.zeros(3), torch.zeros(2, 1)]
    return [(gradients, 3.5), (gradients, 14.0), (gradients[:1], 0.25), (zeros, 1.0)]


@exercises.add(
    "Imagine all tensors laid end to end as one vector: its squared length is the sum of all "
    "squares. One factor for all, never above 1, keeps its direction.",
    _gradients,
    """
    return [g * min(1.0, longest / g.norm().item()) for g in gradients]
    return [g * longest / g.norm() for g in gradients]
        Each tensor is clipped by its own norm, which turns the gradient. Take one over all.
    return [g.clamp(-longest, longest) for g in gradients]
        You clamp each value, which turns the gradient. Multiply all by one factor.
    longest / norm if norm > longest else 1.0 -> min(1.0, longest / norm)
        Where all gradients are 0 it divides by 0. Nothing should change there.
    if norm > longest else 1.0 -> if norm else 1.0
        You make short gradients longer, up to `longest`. Only longer ones should change.
    g.square().sum().item() for g in gradients) ** 0.5 -> g.norm().item() for g in gradients)
        You add up norms. Over all it is the root of the sum of all squares.
    """,
)
def clip_gradients(gradients, longest):
    """The gradients, scaled down so that their 2-norm over all tensors is at most `longest`."""
    norm = sum(g.square().sum().item() for g in gradients) ** 0.5
    factor = longest / norm if norm > longest else 1.0
    return [factor * g for g in gradients]


def _averages() -> list[tuple]:
    average = [torch.tensor([2.0]), torch.tensor([[-1.0, 1.0]])]
    weights = [torch.tensor([5.0]), torch.tensor([[3.0, 1.0]])]
    return [(average, weights, decay) for decay in (0.9, 0.99, 0.0)]


@exercises.add(
    "Old and new are mixed in shares that add up to 1. With a decay of 0.999 the average goes "
    "a thousandth of the way to the weights. Do it for each pair of tensors.",
    _averages,
    """
    decay * a + (1 - decay) * w -> (a + w) / 2
        This is the plain mean of the two, whatever `decay` is.
    decay * a + (1 - decay) * w -> w
        These are the weights of this step. Those of earlier ones are lost.
    decay * a + (1 - decay) * w -> 0.9 * a + 0.1 * w
        A decay of 0.9 is fixed here. Use `decay`.
    """,
)
def ema_update(average, weights, decay):
    """The average after one more step, as new tensors: both lists stay as they are."""
    return [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]


@exercises.add(
    "Sample one uniform number per label, and see which are below the probability. A mask, and a "
    "function that fills where the mask is true, do the rest.",
    test=test_label_dropout,
)
def drop_labels(y, null_class, probability, generator):
    """The labels y [B], each replaced by null_class with that probability."""
    dropped = torch.rand(len(y), generator=generator) < probability
    return torch.where(dropped, null_class, y)
