"""Plausible wrong answers to the exercises of notebook 04, and what each is told."""

import torch

import ddpm_course as dc


def draw_times__from_0(number, T, generator):
    return torch.randint(0, T, (number,), generator=generator)


def draw_times__never_T(number, T, generator):
    return torch.randint(1, T, (number,), generator=generator)


def draw_times__from_0_to_T(number, T, generator):
    return torch.randint(0, T + 1, (number,), generator=generator)


def draw_times__one_for_all(number, T, generator):
    return torch.randint(1, T + 1, (1,), generator=generator).expand(number)


def draw_times__one_number(number, T, generator):
    return torch.randint(1, T + 1, (1,), generator=generator).item()


def draw_times__floats(number, T, generator):
    return 1 + (T - 1) * torch.rand(number, generator=generator)


def draw_times__rounds(number, T, generator):
    return (1 + (T - 1) * torch.rand(number, generator=generator)).round().long()


def draw_times__uneven(number, T, generator):
    return (1 + T * torch.rand(number, generator=generator) ** 2).long()


def draw_times__no_repeats(number, T, generator):
    return torch.randperm(T, generator=generator)[:number] + 1


def draw_times__ignores_the_generator(number, T, generator):
    return torch.randint(1, T + 1, (number,))


def draw_times__seeds(number, T, generator):
    generator.manual_seed(0)
    return torch.randint(1, T + 1, (number,), generator=generator)


def draw_times__in_turn(number, T, generator):
    return torch.arange(number) % T + 1


def draw_times__forgets_return(number, T, generator):
    torch.randint(1, T + 1, (number,), generator=generator)


def loss_of(net, x0, t, noise, schedule):
    return (net(dc.q_sample(x0, t, noise, schedule), t - 1) - noise).square().mean()


def moved(loss, optimizer):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def training_step__keeps_gradients(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    loss.backward()
    optimizer.step()
    return loss.item()


def training_step__forgets_step(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    optimizer.zero_grad()
    loss.backward()
    return loss.item()


def training_step__forgets_backward(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def training_step__erases_gradients(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    loss.backward()
    optimizer.zero_grad()
    optimizer.step()
    return loss.item()


def training_step__steps_too_early(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    optimizer.zero_grad()
    optimizer.step()
    loss.backward()
    return loss.item()


def training_step__steps_twice(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    moved(loss, optimizer)
    optimizer.step()
    return loss.item()


def training_step__climbs(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    moved(-loss, optimizer)
    return loss.item()


def training_step__finds_x0(net, optimizer, x0, t, noise, schedule):
    x_t = dc.q_sample(x0, t, noise, schedule)
    return moved((net(x_t, t - 1) - x0).square().mean(), optimizer)


def training_step__sees_x0(net, optimizer, x0, t, noise, schedule):
    return moved((net(x0, t - 1) - noise).square().mean(), optimizer)


def training_step__own_noise(net, optimizer, x0, t, noise, schedule):
    return moved(loss_of(net, x0, t, torch.randn_like(noise), schedule), optimizer)


def training_step__gives_t(net, optimizer, x0, t, noise, schedule):
    x_t = dc.q_sample(x0, t, noise, schedule)
    return moved((net(x_t, t) - noise).square().mean(), optimizer)


def training_step__gives_shares(net, optimizer, x0, t, noise, schedule):
    x_t = dc.q_sample(x0, t, noise, schedule)
    return moved((net(x_t, t / schedule.T) - noise).square().mean(), optimizer)


def training_step__sums(net, optimizer, x0, t, noise, schedule):
    x_t = dc.q_sample(x0, t, noise, schedule)
    return moved((net(x_t, t - 1) - noise).square().sum(), optimizer)


def training_step__absolute(net, optimizer, x0, t, noise, schedule):
    x_t = dc.q_sample(x0, t, noise, schedule)
    return moved((net(x_t, t - 1) - noise).abs().mean(), optimizer)


def training_step__returns_the_graph(net, optimizer, x0, t, noise, schedule):
    loss = loss_of(net, x0, t, noise, schedule)
    moved(loss, optimizer)
    return loss


def training_step__number_too_early(net, optimizer, x0, t, noise, schedule):
    return moved(loss_of(net, x0, t, noise, schedule).item(), optimizer)


def training_step__no_network(net, optimizer, x0, t, noise, schedule):
    return (dc.q_sample(x0, t, noise, schedule) - noise).square().mean().item()


def training_step__forgets_return(net, optimizer, x0, t, noise, schedule):
    moved(loss_of(net, x0, t, noise, schedule), optimizer)


def warm_up__wastes_the_first(step, learning_rate, warmup_steps):
    return learning_rate * min(1.0, step / max(warmup_steps, 1))


def warm_up__goes_on(step, learning_rate, warmup_steps):
    return learning_rate * (step + 1) / max(warmup_steps, 1)


def warm_up__falls(step, learning_rate, warmup_steps):
    return learning_rate * max(0.0, 1 - step / max(warmup_steps, 1))


def warm_up__none(step, learning_rate, warmup_steps):
    return learning_rate


def warm_up__share_alone(step, learning_rate, warmup_steps):
    return min(1.0, (step + 1) / max(warmup_steps, 1))


def warm_up__whole_division(step, learning_rate, warmup_steps):
    return learning_rate * min(1, (step + 1) // max(warmup_steps, 1))


def warm_up__divides_by_0(step, learning_rate, warmup_steps):
    return learning_rate * min(1.0, (step + 1) / warmup_steps)


def warm_up__one_step_late(step, learning_rate, warmup_steps):
    return learning_rate * min(1.0, (step + 1) / (warmup_steps + 1))


def warm_up__jumps(step, learning_rate, warmup_steps):
    return learning_rate if step >= warmup_steps else learning_rate / 10


def warm_up__always_100(step, learning_rate, warmup_steps):
    return learning_rate * (min(1.0, (step + 1) / 100) if warmup_steps else 1.0)


def warm_up__forgets_return(step, learning_rate, warmup_steps):
    learning_rate *= min(1.0, (step + 1) / max(warmup_steps, 1))


def squares_of(gradients):
    return sum(g.square().sum() for g in gradients)


def clip_gradients__each_alone(gradients, longest):
    return [g * min(1.0, longest / g.norm().item()) for g in gradients]


def clip_gradients__clamps(gradients, longest):
    return [g.clamp(-longest, longest) for g in gradients]


def clip_gradients__always(gradients, longest):
    norm = squares_of(gradients).sqrt()
    return [g * longest / norm for g in gradients]


def clip_gradients__no_root(gradients, longest):
    return [g * min(1.0, longest / squares_of(gradients)) for g in gradients]


def clip_gradients__adds_norms(gradients, longest):
    return [g * min(1.0, longest / sum(g.norm() for g in gradients)) for g in gradients]


def clip_gradients__longest_tensor(gradients, longest):
    return [g * min(1.0, longest / max(g.norm() for g in gradients)) for g in gradients]


def clip_gradients__upside_down(gradients, longest):
    return [g * squares_of(gradients).sqrt() / longest for g in gradients]


def clip_gradients__to_1(gradients, longest):
    norm = squares_of(gradients).sqrt()
    return [g / norm if norm > longest else g for g in gradients]


def clip_gradients__not_at_all(gradients, longest):
    return gradients


def clip_gradients__too_far(gradients, longest):
    return [g * min(1.0, longest / squares_of(gradients).sqrt() / 2) for g in gradients]


def clip_gradients__shrinks_short_ones(gradients, longest):
    norm = squares_of(gradients).sqrt()
    return [g * (longest / norm if norm > longest else 0.5) for g in gradients]


def clip_gradients__only_signs(gradients, longest):
    return [g.sign() * longest / 8**0.5 for g in gradients]


def clip_gradients__in_place(gradients, longest):
    factor = min(1.0, longest / squares_of(gradients).sqrt())
    for g in gradients:
        g *= factor
    return gradients


def clip_gradients__of_0(gradients, longest):
    factor = min(1.0, longest / squares_of(gradients).sqrt().item())
    return [g * factor for g in gradients]


def clip_gradients__one_vector(gradients, longest):
    g = torch.cat([g.flatten() for g in gradients])
    return g * min(1.0, longest / g.norm())


def clip_gradients__one_of_them(gradients, longest):
    return [gradients[0] * min(1.0, longest / squares_of(gradients).sqrt())]


def clip_gradients__forgets_return(gradients, longest):
    factor = min(1.0, longest / squares_of(gradients).sqrt())
    gradients = [g * factor for g in gradients]


def ema_update__swapped(average, weights, decay):
    return [torch.lerp(a, w, decay) for a, w in zip(average, weights, strict=True)]


def ema_update__plain_mean(average, weights, decay):
    return [(a + w) / 2 for a, w in zip(average, weights, strict=True)]


def ema_update__weights(average, weights, decay):
    return [w.clone() for w in weights]


def ema_update__stays(average, weights, decay):
    return [a.clone() for a in average]


def ema_update__adds_weights(average, weights, decay):
    return [decay * a + w for a, w in zip(average, weights, strict=True)]


def ema_update__keeps_all(average, weights, decay):
    return [a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]


def ema_update__sums(average, weights, decay):
    return [a + w for a, w in zip(average, weights, strict=True)]


def ema_update__in_place(average, weights, decay):
    return [a.lerp_(w, 1 - decay) for a, w in zip(average, weights, strict=True)]


def ema_update__decay_of_09(average, weights, decay):
    return [0.9 * a + 0.1 * w for a, w in zip(average, weights, strict=True)]


def ema_update__only_first(average, weights, decay):
    first = decay * average[0] + (1 - decay) * weights[0]
    return [first, *(a.clone() for a in average[1:])]


def ema_update__generator(average, weights, decay):
    return (decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True))


def ema_update__forgets_return(average, weights, decay):
    average = [decay * a + (1 - decay) * w for a, w in zip(average, weights, strict=True)]


def drop_labels__whole_batch(y, null_class, probability, generator):
    drop = torch.rand(1, generator=generator) < probability
    return torch.where(drop, null_class, y)


def drop_labels__keeps_with_it(y, null_class, probability, generator):
    drop = torch.rand(len(y), generator=generator) > probability
    return torch.where(drop, null_class, y)


def drop_labels__swapped(y, null_class, probability, generator):
    drop = torch.rand(len(y), generator=generator) < probability
    return torch.where(drop, y, null_class)


def drop_labels__to_0(y, null_class, probability, generator):
    return y * (torch.rand(len(y), generator=generator) >= probability)


def drop_labels__to_minus_1(y, null_class, probability, generator):
    return y.masked_fill(torch.rand(len(y), generator=generator) < probability, -1)


def drop_labels__in_place(y, null_class, probability, generator):
    y[torch.rand(len(y), generator=generator) < probability] = null_class
    return y


def drop_labels__first_share(y, null_class, probability, generator):
    y = y.clone()
    y[: int(probability * len(y))] = null_class
    return y


def drop_labels__exact_share(y, null_class, probability, generator):
    y = y.clone()
    number = int(probability * len(y))
    y[torch.randperm(len(y), generator=generator)[:number]] = null_class
    return y


def drop_labels__none(y, null_class, probability, generator):
    return y


def drop_labels__half(y, null_class, probability, generator):
    return y.masked_fill(torch.rand(len(y), generator=generator) < 0.5, null_class)


def drop_labels__floats(y, null_class, probability, generator):
    drop = torch.rand(len(y), generator=generator) < probability
    return torch.where(drop, float(null_class), y.float())


def drop_labels__ignores_the_generator(y, null_class, probability, generator):
    return y.masked_fill(torch.rand(len(y)) < probability, null_class)


def drop_labels__always_102(y, null_class, probability, generator):
    return torch.where(torch.rand(len(y), generator=generator) < probability, 102, y)


def drop_labels__always_a_tenth(y, null_class, probability, generator):
    return y.masked_fill(torch.rand(len(y), generator=generator) < 0.1, null_class)


def drop_labels__removes(y, null_class, probability, generator):
    return y[torch.rand(len(y), generator=generator) >= probability]


def drop_labels__forgets_return(y, null_class, probability, generator):
    y = y.masked_fill(torch.rand(len(y), generator=generator) < probability, null_class)


WRONG = {
    draw_times__from_0: "you draw from 0 to T − 1",
    draw_times__never_T: "T is never drawn",
    draw_times__from_0_to_T: "the times run from 0 to 4",
    draw_times__one_for_all: "one time for the whole batch",
    draw_times__one_number: "it returned something of type int",
    draw_times__floats: "the times are torch.float32",
    draw_times__rounds: "half as often as the others",
    draw_times__uneven: "not equally often",
    draw_times__no_repeats: "the result has shape (4,); (6000,) was expected",
    draw_times__ignores_the_generator: "two equal generators give different times",
    draw_times__seeds: "the times are the same at every call",
    draw_times__in_turn: "same at every call: draw on",
    draw_times__forgets_return: "draw_times: it returned None",
    training_step__keeps_gradients: "goes along both gradients",
    training_step__forgets_step: "`optimizer.step()` is missing",
    training_step__forgets_backward: "`loss.backward()` is missing",
    training_step__erases_gradients: "`zero_grad` comes after `backward`",
    training_step__steps_too_early: "`step` comes before `backward`",
    training_step__steps_twice: "the weights moved, but not",
    training_step__climbs: "not by the gradient of the loss",
    training_step__finds_x0: "the answer is compared with x0",
    training_step__sees_x0: "the network was given the clean x0",
    training_step__own_noise: "the network was not given `dc.q_sample",
    training_step__gives_t: "the network was given t; it counts from 0",
    training_step__gives_shares: "the network was given the times tensor([0.1",
    training_step__sums: "you summed; a mean",
    training_step__absolute: "the loss is 0.6719, not",
    training_step__returns_the_graph: "a tensor keeps its graph alive",
    training_step__number_too_early: "'float' object has no attribute 'backward'",
    training_step__no_network: "the network was never called",
    training_step__forgets_return: "training_step: it returned None",
    warm_up__wastes_the_first: "the step wasted",
    warm_up__goes_on: "at step 1000 the rate is 10.01 times",
    warm_up__falls: "the rate falls during warm-up",
    warm_up__none: "the full rate from the first step on",
    warm_up__share_alone: "this is the share alone",
    warm_up__whole_division: "`//` cuts fractions off",
    warm_up__divides_by_0: "with warmup_steps = 0 it divides by 0",
    warm_up__one_step_late: "at step 0 with 100 warm-up steps the rate is 0.009901",
    warm_up__jumps: "the rate is 0.1 of the full one, not 0.01",
    warm_up__always_100: "at step 1 with 8 warm-up steps the rate is 0.02",
    warm_up__forgets_return: "warm_up: it returned None",
    clip_gradients__each_alone: "by its own norm",
    clip_gradients__clamps: "you clamp each value",
    clip_gradients__always: "you make short gradients longer",
    clip_gradients__no_root: "the root is missing",
    clip_gradients__adds_norms: "you add up norms",
    clip_gradients__longest_tensor: "the norm of the longest tensor",
    clip_gradients__upside_down: "the factor is upside down",
    clip_gradients__to_1: "the norm over all comes out as 1",
    clip_gradients__not_at_all: "comes back unchanged",
    clip_gradients__too_far: "a gradient of norm 7 comes back with 1.75",
    clip_gradients__shrinks_short_ones: "shorter than `longest` changes",
    clip_gradients__only_signs: "but the gradient has turned",
    clip_gradients__in_place: "clip_gradients: you write into",
    clip_gradients__of_0: "where all gradients are 0",
    clip_gradients__one_vector: "a list is wanted, not Tensor",
    clip_gradients__one_of_them: "3 tensors go in, and 1 out",
    clip_gradients__forgets_return: "clip_gradients: it returned None",
    ema_update__swapped: "the shares are swapped",
    ema_update__plain_mean: "the plain mean of the two",
    ema_update__weights: "these are the weights of this step",
    ema_update__stays: "the average does not move",
    ema_update__adds_weights: "the weights lack the factor 1 − decay",
    ema_update__keeps_all: "the average lacks the factor `decay`",
    ema_update__sums: "you add the weights up",
    ema_update__in_place: "ema_update: you write into",
    ema_update__decay_of_09: "from 2, 1 updates with decay 0.99 towards 5 lead to 2.3",
    ema_update__only_first: "the first tensor is right",
    ema_update__generator: "a list is wanted, not generator",
    ema_update__forgets_return: "ema_update: it returned None",
    drop_labels__whole_batch: "all of its labels or none",
    drop_labels__keeps_with_it: "you keep with that probability",
    drop_labels__swapped: "keep with that probability; drop",
    drop_labels__to_0: "dropped labels become 0",
    drop_labels__to_minus_1: "a label becomes [-1]",
    drop_labels__in_place: "you write into y",
    drop_labels__first_share: "the same places lose their label",
    drop_labels__exact_share: "every batch loses exactly 6",
    drop_labels__none: "no label is dropped",
    drop_labels__half: "of the labels are dropped, not 0.1",
    drop_labels__floats: "the labels come back as torch.float32",
    drop_labels__ignores_the_generator: "two equal generators drop different labels",
    drop_labels__always_102: "with null_class = 7",
    drop_labels__always_a_tenth: "probability 0 must keep every label",
    drop_labels__removes: "(60,) was expected",
    drop_labels__forgets_return: "drop_labels: it returned None",
}
