"""Answers that are wrong, beyond the slips in the exercises, and unusual answers that are right.

Each is a change of the solution, written as in `ddpm_course.exercises.slips.changed`, above the
words that the verdict must contain.
"""

WRONG = {
    "to_unit": """
        return images.double() / 127.5 - 1
            come as float64 instead of float32
        return (images.float() - 127.5) / 73.9
            Every value is 1.725 times what it should be
        return (images.float() / 255) ** 2.2 * 2 - 1
            value 132 is -0.5302 where 0.03529 is right
        return images.float().tolist()
            it returned a list, and a torch tensor is expected
        """,
    "to_uint8": """
        .round().to(torch.uint8) -> .round()
            come as float32 instead of uint8
        clamp( -> clamp_(
            you write into x
        round() -> ceil()
            it's right in other cases, but not for the shape (1, 3, 10, 10)
        """,
    "steps_of": """
        return epochs * images
            You don't divide by `batch_size`.
        return float(math.ceil(epochs * images / batch_size))
            it returned a float. This is a count
        return str(math.ceil(epochs * images / batch_size))
            it returned a str, and a whole number (int) is expected
        return 17914
            it's right in other cases, but not for epochs = 2, images = 64, batch_size = 32
        """,
    "noise_step": """
        math.sqrt(1 - beta) * x -> (1 - beta) * x
            A square root is missing
        betas[t] -> betas[t - 1]
            You read the schedule at t − 1 instead of t
        betas[t] -> betas[t + 1]
            You read the schedule at t + 1 instead of t
        * noise -> * torch.randn_like(x)
            Use the `noise` you're given
        return x.mul_(math.sqrt(1 - beta)) + math.sqrt(beta) * noise
            you write into x, which
        schedule.betas[t].item() -> 1e-4 + (t - 1) * (0.02 - 1e-4) / 999
            it's right in other cases, but not for t = 20
        return math.sqrt(1 - beta) * x.clamp(-1, 1) + math.sqrt(beta) * noise
            You clip `x` to [−1, 1]
        return math.sqrt(1 - beta) * x.mean() + math.sqrt(beta) * noise
            value
        return x
            You return `x` as it came
        return (math.sqrt(1 - beta) * x + math.sqrt(beta) * noise) * 3
            Every value is 3 times what it should be
        """,
    "alphas_cumprod": """
        return dc.linear_schedule(1000).alphas_cumprod
            the shape (50,)
        1 - betas -> betas.neg_().add_(1)
            you write into betas,
        alphas.cumprod(0) -> alphas.cumprod(0).float()
            come as float32 instead of float64
        alphas.cumprod(0) -> alphas.cumprod(0).flip(0)
            where
        """,
    "q_sample": """
        alphas_cumprod[t] -> alphas_cumprod[t - 1]
            You read the schedule at t − 1 instead of t
        alphas_cumprod[t] -> alphas_cumprod[t + 1]
            You read the schedule at t + 1 instead of t
        (1 - abar).sqrt() * noise -> (1 - abar) * noise
            A square root is missing
        abar.sqrt() * x0 -> abar * x0
            A square root is missing
        return (1 - abar).sqrt() * x0 + abar.sqrt() * noise
            `x0` and `noise` have swapped places.
        (1 - abar).sqrt() * noise -> noise
            The factor `(1 - ᾱ_t).sqrt()` is missing.
        .to(x0.dtype) ->
            come as float64 instead of float32
        * noise -> * torch.randn_like(noise)
            Use the `noise` you're given
        return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise
            such as `torch.sqrt`
        return (abar.sqrt() * x0 + (1 - abar).sqrt() * noise).clamp(-1, 1)
            You clip the result to [−1, 1]
        abar = schedule.alphas_cumprod -> abar = schedule.alphas_cumprod.sub_(0.001)
            you write into schedule, which the caller needs. The schedule is shared
        """,
    "cosine_alphas_cumprod": """
        .cos() ** 2 -> .cos()
            This is the square root of the right result.
        , dtype=torch.float64 ->
            come as float32 instead of float64
        u + s) / (1 + s) -> u + 0.008) / 1.008
            it's right in other cases, but not for T = 37, s = 0.1
        """,
    "beta_end_for": """
        return 0.02 * 1000 / T
            0.02 · 1000/T is a good guess
        return 0.02
            ends in ᾱ_T = 0.132, not 0.001
        reached > target -> reached > target**2
            You brought √ᾱ_T to the target
        return 20 * 1000 / T
            must lie between 0 and 1
        reached > target -> reached < target
            β_T = 0.999 can't be right
        reached > target -> False
            β_T = 0.0001 can't be right
        return reached
            You return ᾱ_T
        """,
    "q_posterior": """
        return from_x_t * x0 + from_x0 * x_t, variance
            `x0` and `x_t` have swapped places.
        math.sqrt(abar_before) -> abar_before
            A square root is missing
        math.sqrt(1 - beta) -> (1 - beta)
            A square root is missing
        math.sqrt(abar_before) -> abar_before; math.sqrt(1 - beta) -> (1 - beta)
            A square root is missing
        x0 + from_x_t * x_t, variance -> x0 + from_x_t * x_t + 0 * variance * torch.randn(()), 2
            in place 2 of the results, it returns 2 where
        + from_x_t * x_t -> + from_x_t * x_t + torch.randn_like(x_t)
            it gives two results
        return variance, from_x0 * x0 + from_x_t * x_t
            in the wrong order
        return from_x0 * x0 + from_x_t * x_t, variance * torch.ones_like(x0)
            in place 2 of the results, the result has shape (4, 3), and one number is expected
        """,
    "kl_gaussians": """
        0.5 * ->
            The factor `0.5` is missing.
        distance - 1 -> distance
            `− 1` is missing.
        - torch.log(ratio) ->
            `− torch.log(ratio)` is missing.
        - torch.log(ratio) -> + torch.log(ratio)
            `torch.log(ratio)` has the wrong sign.
        ** 2 / variance_2 -> ** 2
            You don't divide by `variance_2`.
        return (0.5 * (ratio + distance - 1 - torch.log(ratio))).mean()
            the result has shape (), and (4, 3) is expected
        """,
    "x0_from_eps": """
        math.sqrt(1 - abar) * eps -> (1 - abar) * eps
            A square root is missing
        / math.sqrt(abar) -> / abar
            A square root is missing
        (x_t - math -> (x_t + math
            `√(1 - ᾱ_t) * eps` has the wrong sign.
        / math.sqrt(abar) ->
            You don't divide by `√(ᾱ_t)`.
        / math.sqrt(abar) -> * math.sqrt(abar)
            You multiply by `√(ᾱ_t)`. Divide.
        alphas_cumprod[t] -> alphas_cumprod[t - 1]
            at t − 1 instead of t
        alphas_cumprod[t] -> alphas_cumprod[t + 1]
            at t + 1 instead of t
        return ((x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)).clamp(-1, 1)
            You clip the result to [−1, 1]
        math.sqrt(1 - abar) * eps -> (1 - abar) * eps; / math.sqrt(abar) -> / abar
            A square root is missing
        return (eps - math.sqrt(1 - abar) * x_t) / math.sqrt(abar)
            `x_t` and `eps` have swapped places
        """,
    "x0_from_v": """
        x_t - math -> x_t + math
            `√(1 - ᾱ_t) * v` has the wrong sign.
        return abar * x_t - (1 - abar) * v
            A square root is missing
        math.sqrt(abar) -> abar
            A square root is missing
        math.sqrt(1 - abar) -> (1 - abar)
            A square root is missing
        return math.sqrt(1 - abar) * v - math.sqrt(abar) * x_t
            The sign is wrong: every value should be negated
        return (math.sqrt(abar) * x_t - math.sqrt(1 - abar) * v) ** 2
            the square of the right result
        """,
    "diffusion_loss": """
        x_t = abar.sqrt() * x0 + (1 - abar).sqrt() -> x_t = abar * x0 + (1 - abar)
            A square root is missing
        x_t = abar.sqrt() -> x_t = abar
            A square root is missing
        (1 - abar).sqrt() -> (1 - abar)
            A square root is missing
        .mean() -> .sum()
            You take the sum where the mean is needed.
        ** 2).mean() -> ** 2).mean().item()
            The loss has no gradient
        predicted = net(x_t, t - 1) -> predicted = x_t
            The network was called 0 times
        abar.sqrt() * x0 + (1 - abar).sqrt() * noise -> x0 + torch.randn_like(noise)
            Use the `noise` you're given
        .to(x0.dtype) ->
            x_t is float64
        """,
    "two_point_denoiser": """
        math.sqrt(abar) * ->
            The factor `√(ᾱ_t)` is missing.
        / (1 - abar) ->
            You don't divide by `1 - ᾱ_t`.
        torch.tanh(math.sqrt(abar) * x_t / (1 - abar)) -> \
        (lambda u: (u.exp() - (-u).exp()) / (u.exp() + (-u).exp()))(x_t * abar**0.5 / (1 - abar))
            but not for t = 1: the result holds NaN
        """,
    "group_norm": """
        g - mean -> g
            `− mean` is missing.
        - mean) / torch -> - mean).div_(2) / torch
            Every value is 0.5 times
        """,
    "residual_block": """
        return block(x, emb)
            you call the ResidualBlock as a whole
        """,
    "unet": """
        return net(x, t)
            you call the UNet as a whole
        """,
    "conv_parameters": """
        + out_channels ->
            `+ out_channels` is missing.
        kernel**2 -> kernel
            `kernel` lacks the power `2`.
        return 1168
            it's right in other cases, but not for in_channels = 5
        """,
    "draw_times": """
        randint(1, T + 1 -> randint(0, T
            You draw from 0 to T − 1
        T + 1 -> T
            T is never drawn
        randint(1 -> randint(0
            The times run from 0 to 4
        return torch.randint(1, T + 1, (1,), generator=generator).expand(number)
            one time for the whole batch
        return torch.randint(1, T + 1, (1,), generator=generator).item()
            it returned a whole number (int), not
        return 1 + (T - 1) * torch.rand(number, generator=generator)
            The times are torch.float32
        return (1 + (T - 1) * torch.rand(number, generator=generator)).round().long()
            half as often as the others
        return (1 + T * torch.rand(number, generator=generator) ** 2).long()
            not equally often
        return torch.randperm(T, generator=generator)[:number] + 1
            the result has shape (4,); (6000,) was expected
        , generator=generator ->
            Two equal generators give different times
        generator=generator -> generator=generator.manual_seed(0)
            The times are the same at every call
        return torch.arange(number) % T + 1
            The times are the same at every call
        """,
    "training_step": """
        .square() -> .abs()
            You take the absolute value of `net(x_t, t - 1) - noise`. Square it.
        .mean() -> .sum()
            You take the sum where the mean is needed.
        - noise) -> - torch.randn_like(noise))
            Use the `noise` you're given
        """,
    "clip_gradients": """
        longest / norm if -> norm / longest if
            The fraction `longest / norm` is upside down.
        longest / norm if -> 0.5 * longest / norm if
            value 1 is
        return (factor * g for g in gradients)
            it returned a generator, and a list is expected
        return torch.cat([factor * g.flatten() for g in gradients])
            it returned a torch tensor, and a list is expected
        return [factor * gradients[0]]
            3 results are expected, and it returned 1
        return [g.mul_(factor) for g in gradients]
            you write into gradients
        longest / norm if norm > longest else 1.0 -> min(1.0, longest / norm)
            Where all gradients are 0
        factor * g for -> g.sign() for
            where
        """,
    "ema_update": """
        (1 - decay) * w -> w
            The factor `1 - decay` is missing.
        decay * a -> a
            The factor `decay` is missing.
        return [a.lerp_(w, 1 - decay) for a, w in zip(average, weights, strict=True)]
            you write into average
        return [decay * average[0] + (1 - decay) * weights[0], *(a.clone() for a in average[1:])]
            in place 2 of the results
        """,
    "drop_labels": """
        torch.rand(len(y) -> torch.rand(1
            all of its labels or none
        < probability -> > probability
            You keep with that probability
        null_class, y) -> 0, y)
            Dropped labels become 0
        null_class, y) -> -1, y)
            A label becomes [-1]
        return y.masked_fill_(dropped, null_class)
            you write into y
        return torch.where(torch.arange(len(y)) < probability * len(y), null_class, y)
            The same places lose their label
        torch.rand(len(y), generator=generator) < probability -> \
        torch.randperm(len(y), generator=generator) < int(probability * len(y))
            Every batch loses exactly 6
        return y
            No label is dropped
        < probability -> < 0.5
            of the labels are dropped, not 0.1
        null_class, y) -> float(null_class), y.float())
            The labels come back as torch.float32
        , generator=generator ->
            Two equal generators drop different labels
        null_class, y) -> 102, y)
            With null_class = 7
        < probability -> < 0.1
            Probability 0 must keep every label
        return y[~dropped]
            (60,) was expected
        """,
    "ddpm_step": """
        math.sqrt(variance) -> variance
            A square root is missing
        return mean
            `+ √(variance) * noise` is missing.
        (x0_hat, x_t, t, -> (x_t, x0_hat, t,
            `x_t` and `x0_hat` have swapped places.
        * noise -> * torch.randn_like(x_t)
            Use the `noise` you're given
        t, s, schedule) -> t, s, dc.linear_schedule(1000))
            it's right in other cases, but not for t = 30, s = 10
        """,
    "ddim_step": """
        return (math.sqrt(abar_s) * x0_hat + math.sqrt(1 - abar_s) * eps).clamp(-1, 1)
            You clip the result to [−1, 1]. That is not this function's job.
        x_t - math.sqrt(abar_t) * x0_hat -> x_t - x0_hat
            The factor `√(ᾱ_t)` is missing.
        / math.sqrt(1 - abar_t) ->
            You don't divide by `√(1 - ᾱ_t)`.
        eps = ( -> eps = torch.randn_like(x_t) + 0 * (
            Everything you need is in the arguments
        math.sqrt(abar_t) * x0_hat -> math.sqrt(abar_t) * (x0_hat := x0_hat.clamp(-1, 1))
            You clip `x0_hat`
        math.sqrt(abar_s) * x0_hat -> abar_s * x0_hat; math.sqrt(1 - abar_s) -> (1 - abar_s)
            A square root is missing
        """,
    "time_grid": """
        return [k * (T // steps) for k in reversed(range(steps))]
            the first time is 900. The model never sees T
        range(steps + 1) -> range(steps)
            For T = 1000 and steps = 10 it stops at 100, where noise is left
        return [round(t) for t in torch.linspace(T, 0, steps).tolist()]
            you list 10 times, but n steps have n + 1 ends
        return [round(T * k / steps) for k in range(steps + 1)]
            Your grid rises
        round(T * (1 - k / steps)) -> T * (1 - k / steps)
            You have a float
        return [round(t) for t in torch.linspace(T, 1, steps).tolist()] + [0]
            time 1 is 889, not 900 rounded
        return [*range(T, round(T / steps) * -1 + 1, -round(T / steps))][:steps] + [0]
            Round each time to the nearest, not the stride
        round( -> int(
            Round each time to the nearest
        return [math.ceil(T * (1 - k / steps)) for k in range(steps + 1)]
            Round each time to the nearest
        return torch.linspace(T, 0, steps + 1)
            A list of ints is needed, not a torch tensor
        """,
    "keep_known": """
        x0_known, s, -> x0_known, s + 1,
            at s + 1 instead of s
        x0_known, s, noise, -> x0_known, s, torch.randn_like(noise),
            Use the `noise` you're given
        return x_s.copy_(torch.where(mask.bool(), known, x_s))
            you write into x_s
        """,
    "frechet_diagonal": """
        .sum() -> .mean()
            You take the mean where the sum is needed.
        return 2 * (means + stds).sum()
            where
        """,
    "kernel_distance": """
        2 * kernel -> kernel
            The factor `2` is missing.
        - 2 * -> + 2 *
            `2 * kernel(a, b).mean()` has the wrong sign.
        ** 3 ->
            `x @ y.T / x.shape[1] + 1` lacks the power `3`.
        / x.shape[1] ->
            You don't divide by `x.shape[1]`.
        + 1) -> )
            `+ 1` is missing.
        return (within(a) + within(b) - 2 * kernel(a, b).mean()) ** 0.5
            This is the square root of the right result.
        return kernel(a, a)
            the result has shape (7, 7), and one number is expected
        return (within(a) + within(b) - 2 * kernel(a, b).mean()) / 2
            it returns
        """,
    "rows_per_class": """
        rows[order[:number]] -> rows[:number]
            These are the first of each class
        torch.randperm(len(rows), generator -> torch.randint(len(rows), (len(rows),), generator
            A row came twice
        return torch.randperm(len(labels), generator=generator)[: 3 * number]
            Of the three classes
        return labels.unique().repeat_interleave(number)
            These are labels
        , generator=generator ->
            The same generator draws other rows
        generator=generator -> generator=generator.manual_seed(0)
            Every seed draws the same rows
        rows[order[:number]] -> order[:number]
            These are places within a class
        return labels == 0
            a tensor of int64
        return torch.cat(drawn).tolist()
            a tensor of int64
        return torch.stack(drawn)
            the result has shape (3, 3)
        """,
    "gaussian_bits": """
        0.5 * ->
            The factor `0.5` is missing.
        .square() ->
            The square of `mean_q - mean_p` is missing.
        - math.log(ratio) -> + math.log(ratio)
            `math.log(ratio)` has the wrong sign.
        - 1 ->
            `− 1` is missing.
        .mean() -> .sum()
            You take the sum where the mean is needed.
        / math.log(2) -> / math.log(10)
            Every value is 0.301 times
        return nats.mean().item() / math.log(2)
            it returned a float, and a torch tensor is expected
        """,
    "nearer_share": """
        .mean() -> .sum()
            You take the sum where the mean is needed.
        return (drawn < held_out.median()).double().mean()
            it returns
        """,
    "guide": """
        x0_without + scale -> x0_without - scale
            `scale * (x0_with_y - x0_without)` has the wrong sign.
        x0_without + scale -> scale
            `x0_without` is missing.
        return (x0_without + scale * (x0_with_y - x0_without)).clamp(-1, 1)
            You clip the result to [−1, 1]. That is not this function's job.
        return (x0_with_y + x0_without) / 2
            for scale =
        return x0_with_y if scale <= 1 else x0_without + scale * (x0_with_y - x0_without)
            it's right in other cases, but not for scale = 0
        """,
    "sharpened": """
        return product
            You don't divide by `torch.trapezoid(product, grid)`.
        density * ->
            The factor `density` is missing.
        class_share**scale -> class_share ** (1 / scale)
            for scale = 3
        """,
    "away_from": """
        return denoise -> return denoise(torch.zeros(3, 2, 4, 4), 1)
            A *function* denoise(x_t, t) is needed
        return (unwanted + scale * (wanted - unwanted)).clamp(-1, 1) -> _ = wanted - unwanted
            The inner function returned None
        scale * (wanted - unwanted) -> scale * wanted
            is missing
        y=avoid) -> y=avoid[:1])
            value
        """,
    "within": """
        return denoise -> return guided(torch.zeros(2, 3), low)
            A *function* denoise(x_t, t) is needed
        guided(x_t, t) if low <= t <= high else plain(x_t, t) -> \
        (guided(x_t, t), plain(x_t, t))[not low <= t <= high]
            Both denoisers are called
        return guided(x_t, t) if low <= t <= high else plain(x_t, t) -> _ = plain(x_t, t)
            The inner function returned None
        else plain(x_t, t) -> else 2 * plain(x_t, t)
            neither of the two answers
        """,
    "rescaled": """
        x0_with_y.std((1, 2, 3), keepdim=True) -> x0_with_y.std((1, 2, 3))
            it stopped with RuntimeError
        return x0_guided.mean() + mix * (x0_guided - x0_guided.mean()) * wanted / has
            for mix = 0.7
        """,
    "psnr": """
        .square() -> .abs()
            You take the absolute value of `a.float() - b.float()`. Square it.
        return 255 / error
            where
        """,
    "network_input": """
        dc.upsampled(small) -> \
        torch.nn.functional.interpolate(small, scale_factor=4, mode="bilinear")
            where
        """,
    "held_to": """
        return x0
            You return `x0` as it came.
        small - dc.downsampled(x0) -> dc.downsampled(x0) - small
            `dc.upsampled(small - dc.downsampled(x0))` has the wrong sign.
        x0 + dc.upsampled -> dc.upsampled
            `x0` is missing.
        return (x0 + dc.upsampled(small - dc.downsampled(x0))).clamp(-1, 1)
            You clip the result to [−1, 1]. That is not this function's job.
        x0 + dc.upsampled -> x0 + 0.5 * dc.upsampled
            where
        """,
    "attention": """
        / math.sqrt(q.shape[-1]) ->
            You don't divide by `√(q.shape[-1])`.
        math.sqrt(q.shape[-1]) -> q.shape[-1]
            A square root is missing
        q @ k.mT -> k @ q.mT
            `q` and `k` have swapped places.
        """,
    "slerp": """
        return (torch.sin((1 - w) * theta) * b + torch.sin(w * theta) * a) / torch.sin(theta)
            `a` and `b` have swapped places.
        / torch.sin(theta) ->
            You don't divide by `torch.sin(theta)`.
        """,
    "score": """
        / (1 - abar) ->
            You don't divide by `1 - ᾱ_t`.
        math.sqrt(abar) * x0_hat -> x0_hat
            The factor `√(ᾱ_t)` is missing.
        """,
    "warm_up": """
        learning_rate * ->
            The factor `learning_rate` is missing.
        """,
    "doubted": """
        (small, level, noise, schedule)) -> (noise, level, small, schedule))
            `small` and `noise` have swapped places.
        """,
    "repair_1": """
        return lab.Change("schedules.timesteps", "return", "return")
            schedules.timesteps is healthy in patient 1
        return lab.Change("ddim", "((t, t - 1) for t in ts[:-1])", "pairwise(ts)")
            or is not its full name
        "pairwise(ts)" -> "((t, t - 2) for t in ts[:-2])"
            Patient 1 is not well yet. The probe 'DDIM's spread'
        """,
    "repair_2": """
        return lab.Change("samplers.ddpm", before, "mean")
            Patient 2 is not well yet. The probe 'DDPM's spread'
        return "add no noise at the last step"
            A repair is a Change(where, before, after)
        """,
    "repair_3": """
        "/ 127.5 - 1" -> "/ 127.5"
            Patient 3 is not well yet. The probe 'black' returns 0
        "/ 127.5 - 1" -> "/ 255 - 1"
            on other inputs data.images.to_unit
        """,
    "repair_4": """
        step_variance**0.5 -> step_variance**2
            Patient 4 is not well yet. The probe 'DDPM's spread'
        return lab.Change("samplers.ddpm", "sigma**2", "sigma")
            `sigma**2` occurs 0 times in samplers.ddpm
        """,
    "repair_5": """
        return lab.Change("schedules.NoiseSchedule.__post_init__", ".bfloat16()", ".half()")
            Patient 5 is not well yet
        "table.bfloat16().double()", "table" -> "table.bfloat16()", "table.float()"
            on other inputs schedules.NoiseSchedule
        """,
    "repair_6": """
        "denoise(x, t)" -> "denoise(x.clamp(-2, 2), t)"
            Patient 6 is not well yet. The probe 'solver's spread'
        "denoise(x, t)" -> "denoise(x.clamp(-3, 3), t)"
            on other inputs samplers.dpm_solver_pp_2m
        """,
    "repair_7": """
        min(self.decay, (1 + self.updates) / (10 + self.updates)) -> self.decay**0.5
            Patient 7 is not well yet. The probe 'memory of the start'
        return lab.Change("training.ema.EMA.update", "decay = self.decay", "decay = 0.24")
            on other inputs training.ema.EMA
        """,
    "repair_8": """
        return lab.Change("diffusion.q_sample", "alphas_cumprod", "alphas_cumprod")
            The repair is not possible
        """,
    "repair_9": """
        "torch.randint(1, T + 1," -> "torch.randint(0, T,"
            Patient 9 is not well yet. The probe 'largest t'
        "torch.randint(1, T + 1," -> "torch.randint(T, T + 1,"
            on other inputs training.loop.draw_times
        """,
    "repair_10": """
        4 * g" -> 1 * g"
            Patient 10 is not well yet. The probe 'effect of t'
        min(channels) >= 4 * g" -> min(channels >= 4 * g"
            unet.norm_groups would be no valid Python
        4 * g" -> 2 * g"
            on other inputs unet.norm_groups
        """,
}

RIGHT = {
    "to_unit": "return (images.to(torch.float32) - 127.5) / 127.5",
    "to_uint8": "return ((x + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)",
    "steps_of": "return -(-epochs * images // batch_size)",
    "q_sample": "abar = schedule -> abar = 1 * schedule; .to(x0.dtype) -> .to(x0)",
    "alphas_cumprod": "torch.cat([torch.ones(1, dtype=betas.dtype), 1 - betas]) -> 1 - torch.cat("
    "[betas[:1] * 0, betas])",
    "q_posterior": "betas[t].item() -> betas[t]",
    "diffusion_loss": "net(x_t, t - 1) -> net.forward(x_t, t - 1)",
    "training_step": "return loss.item() -> return float(loss.detach())",
    "ema_update": "return [torch.lerp(w, a, decay) for a, w in zip(average, weights)]",
    "clip_gradients": "return tuple(g.clone() * factor for g in gradients)",
    "time_grid": "return [int(T * (steps - k) / steps + 0.5) for k in range(steps + 1)]",
    "keep_known": "return mask.float() * known + (1 - mask.float()) * x_s",
    "frechet_diagonal": "return float((means + stds).sum())",
    "attention": "return torch.nn.functional.scaled_dot_product_attention(q, k, v)",
    "block_mean": "return torch.nn.functional.avg_pool2d(large, 4)",
}
