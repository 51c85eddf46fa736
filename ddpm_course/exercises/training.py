"""Exercises of notebook 04: a step of training, and what a long run adds to it."""

import torch
from torch import Tensor, nn

import ddpm_course as dc
from ddpm_course.exercises.checking import Exercises, Wrong, close, require, tensor_of
from ddpm_course.rng import generator

exercises = Exercises()
check, hint, solution = exercises.check, exercises.hint, exercises.solution

SCHEDULE = dc.linear_schedule(10, 0.05, 0.5)
NONE = "it returned None: does the function end with `return`?"


def _alike(got: list[Tensor], wanted: list[Tensor]) -> bool:
    return all(close(a, b) for a, b in zip(got, wanted, strict=True))


def _lists(f, *arguments) -> list[Tensor]:
    """f's list of tensors, in the shapes of the first that it gets; it must write into none."""
    copies = [[v.clone() for v in a] if isinstance(a, list) else a for a in arguments]
    got, like = f(*copies), arguments[0]
    require(got is not None, NONE)
    require(isinstance(got, list | tuple), f"a list is wanted, not {type(got).__name__}.")
    require(len(got) == len(like), f"{len(like)} tensors go in, and {len(got)} out: one for each.")
    same = [_alike(a, b) for a, b in zip(copies, arguments, strict=True) if isinstance(b, list)]
    require(all(same), "you write into the tensors that came: return new ones.")
    return [tensor_of(a, tuple(b.shape)) for a, b in zip(got, like, strict=True)]


def _test_draw_times(f) -> None:
    T, got = 4, f(6000, 4, generator(0))
    one = isinstance(got, Tensor) and len(got.unique()) == 1
    require(not one, "there is one time for the whole batch; every image draws its own.")
    got = tensor_of(got, (6000,))
    require(got.dtype == torch.int64, f"the times are {got.dtype}, but a table needs torch.int64.")
    ends = int(got.min()), int(got.max())
    told = "you draw from 0 to T − 1: t = 0 is clean, and T, where sampling starts, is never drawn."
    require(ends != (0, T - 1), told)
    require(ends != (1, T - 1), "T is never drawn: `torch.randint` leaves out its upper end.")
    require(ends == (1, T), f"the times run from {ends[0]} to {ends[1]}, not from 1 to T = {T}.")
    counts = got.bincount()[1:].tolist()
    told = "1 and T come half as often as the others: rounding gives the ends half as much room."
    require(max(counts[0], counts[-1]) > 1250, told)
    even = all(abs(count - 1500) < 200 for count in counts)
    require(even, f"in 6000 draws the times 1 to {T} come {counts} times, not equally often.")
    draw = generator(1)
    a, b, again, other = (f(100, 1000, g) for g in (draw, generator(1), draw, generator(2)))
    require(close(a, b), "two equal generators give different times: draw from `generator`.")
    told = "the times are the same at every call: draw on from the generator, and seed nothing."
    require(not close(a, again) and not close(a, other), told)
    require(close(f(3, 1, generator(0)), torch.ones(3)), "with T = 1 every time must be 1.")


@exercises.add(
    _test_draw_times,
    "`torch.randint` draws whole numbers from a lower end, which is drawn, to an upper end, which "
    "is not. It takes a shape and a generator.",
)
def draw_times(number, T, generator):
    """One time for each of `number` images, every t from 1 to T equally likely."""
    return torch.randint(1, T + 1, (number,), generator=generator)


class _Net(nn.Module):
    """a x + b t + c, which notes what it was given and when its gradients came."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.5, 0.1, -0.2]))
        self.events: list[str] = []
        self.weights.register_hook(lambda _: self.events.append("backward"))
        self.given: tuple = ()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        self.given = (x.detach().clone(), t.clone())
        a, b, c = self.weights
        return a * x + b * t.view(-1, 1, 1, 1) + c


def _check_loss(net: _Net, loss, answer: Tensor, x0: Tensor, t: Tensor, noise: Tensor) -> None:
    require(loss is not None, NONE)
    require(net.given != (), "the network was never called.")
    x, time = net.given
    require(not close(time, t), "the network was given t; it counts from 0, so give it t − 1.")
    require(close(time, t - 1), f"the network was given the times {time}, not t − 1 = {t - 1}.")
    require(not close(x, x0), "the network was given the clean x0; it must see the noised x_t.")
    noised = close(x, dc.q_sample(x0, t, noise, SCHEDULE))
    require(noised, "the network was not given `dc.q_sample(x0, t, noise, schedule)`.")
    told = "a tensor keeps its graph alive, so a list of losses fills the memory: return a float."
    require(not isinstance(loss, Tensor), told)
    require(isinstance(loss, float), f"the loss must be a float, not {type(loss).__name__}.")
    right, of_x0 = ((answer - target).square().mean() for target in (noise, x0))
    require(not close(loss, of_x0), "the answer is compared with x0; this network finds the noise.")
    summed = close(loss, right * noise.numel())
    require(not summed, "you summed; a mean does not grow with the number of pixels.")
    require(close(loss, right), f"the loss is {loss:.4f}, not {right.item():.4f}.")


def _test_training_step(f) -> None:
    x0, noise = torch.randn(2, 4, 2, 3, 3, generator=generator(0))
    t, net = torch.tensor([1, 3, 7, 10]), _Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    optimizer.register_step_post_hook(lambda *_: net.events.append("step"))
    x_t, before = dc.q_sample(x0, t, noise, SCHEDULE), net.weights.detach().clone()
    times = (t - 1).view(-1, 1, 1, 1).expand_as(x_t)
    inputs = torch.stack([x_t, times, torch.ones_like(x_t)], -1)

    def move(w: Tensor) -> Tensor:
        error = inputs @ w - noise
        return -0.5 * 2 * (error[..., None] * inputs).flatten(0, 3).mean(0)

    loss = f(net, optimizer, x0.clone(), t.clone(), noise.clone(), SCHEDULE)
    _check_loss(net, loss, inputs @ before, x0, t, noise)
    after, events = net.weights.detach().clone(), net.events
    if close(after, before):
        require("backward" in events, "no gradient was computed: `loss.backward()` is missing.")
        require("step" in events, "the weights did not change: `optimizer.step()` is missing.")
        require(events[0] == "backward", "`step` comes before `backward`, without a gradient yet.")
        raise Wrong("`zero_grad` comes after `backward` and erases the gradient: put it before.")
    first = move(before)
    require(close(after, before + first), "the weights moved, but not by the gradient of the loss.")
    f(net, optimizer, x0, t, noise, SCHEDULE)
    got, second = net.weights.detach() - after, move(after)
    told = "the second step goes along both gradients: `backward` adds to the old one, so call "
    require(not close(got, first + second), f"{told}`optimizer.zero_grad()` before it.")
    require(close(got, second), "the first step is right, but the second is not.")


@exercises.add(
    _test_training_step,
    "Noise the images, let the network guess the noise, take the mean of the squared error. The "
    "optimiser then forgets the old gradient, gets the new one, and moves. Return only a number.",
)
def training_step(net, optimizer, x0, t, noise, schedule):
    """One step of Algorithm 1; the loss as a float."""
    x_t = dc.q_sample(x0, t, noise, schedule)
    loss = (net(x_t, t - 1) - noise).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def _test_warm_up(f) -> None:
    def share(step: int, warmup_steps: int = 100) -> float:
        rate = f(step, 0.2, warmup_steps)
        require(rate is not None, NONE)
        return float(rate) / 0.2

    first, middle, late = share(0), share(49), share(1000)
    told = "the rate falls during warm-up; it should rise, for random weights have wild gradients."
    require(middle >= first, told)
    told = "it is the full rate from the first step on, when the gradients are at their wildest."
    require(not close(first, 1.0), told)
    require(middle > 0, "the rate is 0 all through warm-up: `//` cuts fractions off; use `/`.")
    require(first > 0, "at step 0 the rate is 0 and the step wasted: count it in, as step + 1.")
    bare = close((first, late), (0.05, 5.0))
    require(not bare, "this is the share alone, whatever `learning_rate` is: multiply by it.")
    told = f"at step 1000 the rate is {late:.4g} times the full one: after warm-up it stays at 1."
    require(late <= 1 or close(late, 1.0), told)
    try:
        require(close(share(0, 0), 1.0), "with warmup_steps = 0 the rate is not full at step 0.")
    except ZeroDivisionError as error:
        raise Wrong("with warmup_steps = 0 it divides by 0; there the full rate holds.") from error
    for step, steps in ((0, 100), (1, 100), (98, 100), (99, 100), (100, 100), (5000, 100), (1, 8)):
        got, wanted = share(step, steps), min(1.0, (step + 1) / steps)
        case = f"at step {step} with {steps} warm-up steps the rate is"
        require(close(got, wanted), f"{case} {got:.4g} of the full one, not {wanted:.4g}.")


@exercises.add(
    _test_warm_up,
    "Which share of the warm-up is done once this step is? It grows in a straight line, and from "
    "some step on it would pass 1. Think of a warm-up of 0 steps, too.",
)
def warm_up(step, learning_rate, warmup_steps):
    """The rate of a step, counted from 0: it rises over `warmup_steps` steps and then stays."""
    return learning_rate * min(1.0, (step + 1) / max(warmup_steps, 1))


def _test_clip_gradients(f) -> None:
    given = [torch.tensor(v) for v in ([[1.2], [-1.6]], [1.0, -2.0, 2.0], [2.0, -4.0, 4.0])]
    got = _lists(f, given, 3.5)  # the norms are 2, 3 and 6, and 7 over all
    for factor, sentence in (
        (3.5 / 49, "the root is missing: you divide by the squared norm."),
        (3.5 / 11, "you add up norms; over all it is the root of the sum of all squares."),
        (3.5 / 6, "you take the norm of the longest tensor; it is one norm over all of them."),
        (7 / 3.5, "the factor is upside down: it is longest/norm."),
        (1 / 7, "the norm over all comes out as 1: multiply by `longest`."),
        (1.0, "a gradient of norm 7 comes back unchanged, though longest = 3.5."),
    ):
        require(not _alike(got, [factor * g for g in given]), sentence)
    clipped, always = ([g * min(m, 3.5 / g.norm().item()) for g in given] for m in (1, 7))
    told = "each tensor is clipped by its own norm, which turns the gradient: take one over all."
    require(not _alike(got, clipped) and not _alike(got, always), told)
    told = "you clamp each value, which turns the gradient: multiply all by one factor."
    require(not _alike(got, [g.clamp(-3.5, 3.5) for g in given]), told)
    norm = torch.cat([g.flatten() for g in got]).norm().item()
    require(close(norm, 3.5), f"a gradient of norm 7 comes back with {norm:.4g}, not 3.5.")
    told = "the norm is right, but the gradient has turned: multiply all by one factor."
    require(_alike(got, [g / 2 for g in given]), told)
    got = _lists(f, given, 14.0)
    told = "you make short gradients longer, up to `longest`; only longer ones are to change."
    require(not _alike(got, [2 * g for g in given]), told)
    require(_alike(got, given), "a gradient that is shorter than `longest` changes.")
    try:
        _lists(f, [0 * g for g in given], 1.0)
    except (ZeroDivisionError, Wrong) as error:
        raise Wrong("where all gradients are 0 it divides by 0: nothing is to change.") from error


@exercises.add(
    _test_clip_gradients,
    "Imagine all tensors laid end to end as one vector: its squared length is the sum of all "
    "squares. One factor for all, never above 1, keeps its direction.",
)
def clip_gradients(gradients, longest):
    """The gradients, scaled down so that their 2-norm over all tensors is at most `longest`."""
    norm = sum(g.square().sum().item() for g in gradients) ** 0.5
    factor = longest / norm if norm > longest else 1.0
    return [factor * g for g in gradients]


def _test_ema_update(f) -> None:
    a, w = ([torch.tensor([x]), torch.tensor([[y, 1.0]])] for x, y in ((2.0, -1.0), (5.0, 3.0)))
    got = _lists(f, a, w, 0.9)
    for p, q, sentence in (
        (0.1, 0.9, "the shares are swapped: the average keeps `decay` of itself."),
        (0.5, 0.5, "this is the plain mean of the two, whatever `decay` is."),
        (0.0, 1.0, "these are the weights of this step; those of earlier ones are lost."),
        (1.0, 0.0, "the average does not move."),
        (0.9, 1.0, "the weights lack the factor 1 − decay: the average grows to 10 times them."),
        (1.0, 0.1, "the average lacks the factor `decay`, so it grows without end."),
        (1.0, 1.0, "you add the weights up, and a sum grows without end."),
    ):
        require(not _alike(got, [p * x + q * y for x, y in zip(a, w, strict=True)]), sentence)
    for decay in (0.9, 0.99, 0.0):
        average = a
        for n in range(1, 31):
            average = _lists(f, average, w, decay)
            wanted = [y + decay**n * (x - y) for x, y in zip(a, w, strict=True)]
            case = f"from 2, {n} updates with decay {decay} towards 5 lead to"
            first, right = average[0].item(), wanted[0].item()
            require(close(first, right), f"{case} {first:.4f}, not {right:.4f}.")
            require(_alike(average, wanted), "the first tensor is right, but another is not.")


@exercises.add(
    _test_ema_update,
    "Old and new are mixed in shares that add up to 1. With a decay of 0.999 the average goes "
    "a thousandth of the way to the weights. Do it for each pair of tensors.",
)
def ema_update(average, weights, decay):
    """The average after one more step, as new tensors: both lists stay as they are."""
    return [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]


def _test_drop_labels(f) -> None:
    y, draw = torch.arange(60) + 1, generator(0)

    def dropped(probability: float, draw: torch.Generator) -> Tensor:
        got = tensor_of(f(y, 102, probability, draw), (60,))
        require(got.dtype == y.dtype, f"the labels come back as {got.dtype}, not torch.int64.")
        other = got[(got != y) & (got != 102)].tolist()
        require(0 not in other, "dropped labels become 0, which is a species: use null_class.")
        require(not other, f"a label becomes {other[:1]}, neither itself nor null_class, 102.")
        return got == 102

    lost = torch.stack([dropped(0.1, draw) for _ in range(100)])
    counts, share = lost.sum(1), lost.float().mean().item()
    require(share > 0, "no label is dropped, though the probability is 0.1.")
    told = "a batch loses all of its labels or none: each label needs a draw of its own."
    require(not bool(((counts == 0) | (counts == 60)).all()), told)
    told = "the same places lose their label in every batch: draw anew with the generator."
    require(not bool((lost == lost[0]).all()), told)
    told = f"every batch loses exactly {counts[0]}; each label is dropped or kept by itself."
    require(not bool((counts == counts[0]).all()), told)
    require(abs(share - 0.9) > 0.02, "you keep with that probability; drop with it instead.")
    require(abs(share - 0.1) < 0.02, f"{share:.3f} of the labels are dropped, not 0.1.")
    a, b = (dropped(0.5, generator(1)) for _ in range(2))
    require(close(a, b), "two equal generators drop different labels: draw from `generator`.")
    certain = bool(dropped(1.0, draw).all()) and not bool(dropped(0.0, draw).any())
    require(certain, "probability 0 must keep every label, and 1 drop every one.")
    require(bool((f(y, 7, 1.0, draw) == 7).all()), "with null_class = 7 it still gives 102.")


@exercises.add(
    _test_drop_labels,
    "Draw one uniform number for each label, and see which lie below the probability. A mask, and "
    "a function that fills where the mask is true, do the rest.",
)
def drop_labels(y, null_class, probability, generator):
    """The labels y [B], each replaced by null_class with that probability."""
    dropped = torch.rand(len(y), generator=generator) < probability
    return torch.where(dropped, null_class, y)
