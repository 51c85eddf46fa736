"""Answers that are wrong, beyond the slips in the exercises, and unusual answers that are right.

Each is a change of the solution, written as in `ddpm_course.exercises.slips.changed`. After a wrong
one stand words that its verdict must contain.
"""

HARMLESS = {
    ("alphas_cumprod", "You clip `betas`"),
    ("alphas_cumprod", "You clip the result"),
    ("cosine_alphas_cumprod", "You clip the result"),
    ("frechet_diagonal", "`a` and `b` have swapped places"),
    ("gaussian_bits", "`mean_q` and `mean_p` have swapped places"),
    ("keep_known", "You clip `mask`"),
    ("kernel_distance", "`a` and `b` have swapped places"),
    ("kl_gaussians", "`mean_1` and `mean_2` have swapped places"),
    ("look_ahead", "You don't divide by `2`"),
    ("look_ahead", "You multiply by `2`"),
    ("nearer_share", "You clip the result"),
    ("psnr", "`a` and `b` have swapped places"),
    ("sinusoidal_embedding", "You clip the result"),
    ("steps_of", "`epochs` and `images` have swapped places"),
    ("to_uint8", "You clip `x`"),
    ("to_unit", "You clip the result"),
    ("two_point_denoiser", "You clip the result"),
}
"""Mistakes of `common_slips` that change nothing: a sum has no order, a cosine is at most 1,
a ratio of strides is the same in λ and in 2λ."""

WRONG = {
    "to_unit": """
        return images.double() / 127.5 - 1 => come as float64 instead of float32
        return (images.float() - 127.5) / 73.9 => Every value is 1.725 times what it should be
        return (images.float() / 255) ** 2.2 * 2 - 1 \
        => value 132 is -0.53021 where 0.035294 is right
        return images.float().tolist() => it returned a list, and a torch tensor is expected
        """,
    "to_uint8": """
        .round().to(torch.uint8) -> .round() => come as float32 instead of uint8
        clamp( -> clamp_( => you write into x
        """,
    "steps_of": """
        return epochs * images // batch_size + (images % batch_size > 0) \
        => there is no step to add
        return epochs * images => You don't divide by `batch_size`.
        return float(math.ceil(epochs * images / batch_size)) \
        => it returned a float. This is a whole number, so return an int
        return 17914 \
        => it's right in other cases, but not for epochs = 2, images = 64, batch_size = 32
        """,
    "noise_step": """
        return math.sqrt(1 - beta) * x + math.sqrt(beta) * schedule.snr.clamp_(max=1)[t] \
        => you write into schedule
        return math.sqrt(1 - beta) * x + math.sqrt(beta) * noise.abs() \
        => it's right in other cases, but not for t = 500: value 6
        betas[t] -> betas[t - 1] => You read the schedule at t − 1 instead of t
        * noise -> * torch.randn_like(x) => Use the `noise` you're given
        return x.mul_(math.sqrt(1 - beta)) + math.sqrt(beta) * noise => you write into x, which
        schedule.betas[t].item() -> 1e-4 + (t - 1) * (0.02 - 1e-4) / 999 \
        => it's right in other cases, but not for t = 20
        return math.sqrt(1 - beta) * x.clamp(-1, 1) + math.sqrt(beta) * noise \
        => You clip `x` to [−1, 1]
        return x => You return `x` as it came
        return (math.sqrt(1 - beta) * x + math.sqrt(beta) * noise) * 3 \
        => Every value is 3 times what it should be
        """,
    "alphas_cumprod": """
        return dc.linear_schedule(1000).alphas_cumprod => the shape (50,)
        1 - betas -> betas.neg_().add_(1) => you write into betas,
        alphas.cumprod(0) -> alphas.cumprod(0).float() => come as float32 instead of float64
        """,
    "q_sample": """
        .to(x0.dtype) -> => come as float64 instead of float32
        return math.sqrt(abar) * x0 + math.sqrt(1 - abar) * noise => such as `torch.sqrt`
        abar = schedule.alphas_cumprod -> abar = schedule.alphas_cumprod.sub_(0.001) \
        => you write into schedule, which the caller needs. The schedule is shared
        """,
    "cosine_alphas_cumprod": """
        , dtype=torch.float64 -> => come as float32 instead of float64
        u + s) / (1 + s) -> u + 0.008) / 1.008 \
        => it's right in other cases, but not for T = 37, s = 0.1
        """,
    "same_snr": """
        schedule.log_snr[t] -> schedule.log_snr[t - 1] => t − 1
        return int((schedule.log_snr - other.log_snr[t]).abs().argmin()) => swapped places
        return float(distance.argmin()) => it returned a float
        """,
    "beta_end_for": """
        return 0.02 => it returns 0.02 where 0.067404 is right
        """,
    "q_posterior": """
        x0 + from_x_t * x_t, variance -> x0 + from_x_t * x_t + 0 * variance * torch.randn(()), 2 \
        => in place 2 of the results, it returns 2 where
        return variance, from_x0 * x0 + from_x_t * x_t => in the wrong order
        return from_x0 * x0 + from_x_t * x_t, variance * torch.ones_like(x0) \
        => in place 2 of the results, the result has shape (4, 3), and one number is expected
        """,
    "kl_gaussians": """
        return (0.5 * (ratio + distance - 1 - torch.log(ratio))).mean() \
        => the result has shape (), and (4, 3) is expected
        """,
    "x0_from_eps": """
        math.sqrt(1 - abar) * eps -> (1 - abar) * eps; / math.sqrt(abar) -> / abar \
        => A square root is missing
        (x_t - math -> (x_t + math => `√(1 - ᾱ_t) * eps` has the wrong sign.
        / math.sqrt(abar) -> => You don't divide by `√(ᾱ_t)`.
        / math.sqrt(abar) -> * math.sqrt(abar) => You multiply by `√(ᾱ_t)`. Divide.
        alphas_cumprod[t] -> alphas_cumprod[t - 1] => at t − 1 instead of t
        alphas_cumprod[t] -> alphas_cumprod[t + 1] => at t + 1 instead of t
        return ((x_t - math.sqrt(1 - abar) * eps) / math.sqrt(abar)).clamp(-1, 1) \
        => You clip the result to [−1, 1]
        return (eps - math.sqrt(1 - abar) * x_t) / math.sqrt(abar) \
        => `x_t` and `eps` have swapped places
        """,
    "x0_from_v": """
        return math.sqrt(1 - abar) * v - math.sqrt(abar) * x_t \
        => The sign is wrong: every value should be negated
        return (math.sqrt(abar) * x_t - math.sqrt(1 - abar) * v) ** 2 \
        => the square of the right result
        """,
    "diffusion_loss": """
        net(x_t, t - 1) -> net(x_t, t - 1).detach().requires_grad_() \
        => The gradient doesn't reach the network
        .mean() -> .sum() => You take the `sum` where the `mean` is needed.
        ** 2).mean() -> ** 2).mean().item() => The loss has no gradient
        predicted = net(x_t, t - 1) -> predicted = x_t => The network was called 0 times
        .to(x0.dtype) -> => x_t is float64
        """,
    "two_point_denoiser": """
        torch.tanh(math.sqrt(abar) * x_t / (1 - abar)) -> (lambda u: (u.exp() - (-u).exp()) / \
        (u.exp() + (-u).exp()))(x_t * abar**0.5 / (1 - abar)) \
        => but not for t = 1: the result holds NaN
        """,
    "group_norm": """
        groups, -1 -> 4, -1 => it's right in other cases, but not for groups = 2
        - mean) / torch -> - mean).div_(2) / torch => Every value is 0.5 times
        """,
    "residual_block": """
        return block(x, emb) => you call the ResidualBlock as a whole
        """,
    "unet": """
        return net(x, t) => you call the UNet as a whole
        """,
    "attention": """
        return torch.nn.functional.scaled_dot_product_attention(q, k, v) => the result has shape
        scores.softmax(dim=-1) -> (scores.exp() / scores.exp().sum(-1, keepdim=True)) \
        => the result holds NaN or infinity
        """,
    "up_widths": """
        return widths[::-1] => You return the right results in the wrong order.
        return [[width] * (blocks + 1) for width in reversed(channels)] \
        => These are the widths that leave the blocks
        return [[128, 96], [96, 64]] => it's right in other cases, but not for blocks = 2
        """,
    "up_block": """
        return block(x, skips, emb) => you call the UpBlock as a whole
        """,
    "draw_times": """
        return torch.randint(1, T + 1, (number,), generator=generator).sort().values \
        => Some places in the batch get early times only
        return (lambda t: torch.cat([t, T + 1 - t]))(torch.randint(1, \
        T + 1, (number // 2 + 1,),         generator=generator))[:number] \
        => Every batch gets the same share of times
        randint(1, T + 1 -> randint(0, T => The times run from 0 to T − 1
        T + 1 -> T => T never comes: `torch.randint` excludes
        return torch.randint(1, T + 1, (1,), generator=generator).expand(number) \
        => one time for the whole batch
        return torch.randint(1, T + 1, (1,), generator=generator).item() \
        => it returned a whole number (int), not
        return 1 + (T - 1) * torch.rand(number, generator=generator) \
        => the result is torch.float32; torch.int64 was expected
        return (1 + (T - 1) * torch.rand(number, generator=generator)).round().long() \
        => half as often as the others
        return (1 + T * torch.rand(number, generator=generator) ** 2).long() \
        => 1 to 4 don't come equally often
        , generator=generator -> => Two equal generators give different results
        generator=generator -> generator=generator.manual_seed(0) \
        => The result is the same at every call
        """,
    "training_step": """
        net(x_t, t - 1) -> net(x_t, t / schedule.T) => The network received times that are not int64
        .square() -> .abs() => You don't square `net(x_t, t - 1) - noise`, but take `abs`.
        - noise) -> - torch.randn_like(noise)) => Use the `noise` you're given
        """,
    "learning_rate": """
        config.steps -> 1000 => it's right in other cases, but not for
        config.warmup_steps -> 100 => it's right in other cases, but not for
        config.learning_rate -> 0.2 => it's right in other cases, but not for
        return torch.tensor([step]) => the result has shape (1,), and one number is expected
        min(1.0, rise, fall) -> max(1.0, rise, fall) => for step = 0: it returns
        """,
    "clip_gradients": """
        longest / norm if -> norm / longest if => The fraction `longest / norm` is upside down.
        return (factor * g for g in gradients) => it returned a generator, and a list is expected
        return torch.cat([factor * g.flatten() for g in gradients]) \
        => it returned a torch tensor, and a list is expected
        return [factor * gradients[0]] => 3 results are expected, and it returned 1
        return [g.mul_(factor) for g in gradients] => you write into gradients
        """,
    "ema_update": """
        return [a.lerp_(w, 1 - decay) for a, w in zip(average, weights, strict=True)] \
        => you write into average
        return [decay * average[0] + (1 - decay) * weights[0], *(a.clone() for a in average[1:])] \
        => in place 2 of the results
        """,
    "drop_labels": """
        torch.rand(len(y) -> torch.rand(1 => Some dropped labels of a batch always come together
        < probability -> > probability => You keep with that probability
        null_class, y) -> 0, y) => Dropped labels become 0
        return torch.where(torch.arange(len(y)) < probability * len(y), null_class, y) \
        => The same places lose their label
        torch.rand(len(y), generator=generator) < probability -> \
                torch.randperm(len(y), generator=generator) < int(probability * len(y)) \
        => Every batch gets the same share of
        < probability -> < 0.5 => of the labels are dropped, not 0.1
        null_class, y) -> float(null_class), y.float()) \
        => the result is torch.float32; torch.int64 was expected
        , generator=generator -> => Two equal generators give different results
        null_class, y) -> 102, y) => Labels become [102]. Dropped ones become 107
        < probability -> < 0.1 => of the labels are dropped, not 0.4
        """,
    "ddpm_step": """
        abar_t = schedule -> abar_t = dc.linear_schedule(1000); \
        abar_s = schedule -> abar_s = dc.linear_schedule(1000) \
        => it's right in other cases, but not for t = 30, s = 10
        * noise -> * torch.randn_like(x_t) => Use the `noise` you're given
        * (1 - alpha) / (1 - abar_t) -> * (1 - alpha) => You don't divide by `1 - ᾱ_t`.
        return from_x0 * x0_hat + from_x_t * x_t => `+ √(variance) * noise` is missing.
        """,
    "look_ahead": """
        (lam[s] - lam[t]) -> (lam[s] - lam[t_before]) \
        => it's right in other cases, but not for t_before = 1000, t = 700, s = 500
        schedule.log_snr -> dc.linear_schedule(1000).log_snr \
        => it's right in other cases, but not for t_before = 40, t = 25, s = 3
        return x0_hat => You return `x0_hat` as it came
        if s == 0 -> if s <= 1 => it's right in other cases, but not for
        """,
    "ddim_step": """
        eps = ( -> eps = torch.randn_like(x_t) + 0 * ( => Everything you need is in the arguments
        """,
    "keep_known": """
        mask.bool(), known -> mask[:1].bool(), known => it's right in other cases
        x0_known, s, -> x0_known, s + 1, => at s + 1 instead of s
        return x_s.copy_(torch.where(mask.bool(), known, x_s)) => you write into x_s
        """,
    "frechet_diagonal": """
        .sum() -> .mean() => You take the `mean` where the `sum` is needed.
        """,
    "kernel_distance": """
        return kernel(a, a) => the result has shape (7, 7), and one number is expected
        """,
    "rows_per_class": """
        labels.unique() -> range(3) => the result has shape (2,); (6,) was expected
        rows[order[:number]] -> rows.roll(int(order[0]))[:number] => Some rows always come together
        rows[order[:number]] -> rows[:number] => Every seed gives the same rows
        generator=generator -> generator=generator.manual_seed(0) => Every seed gives the same rows
        torch.randperm(len(rows), generator -> torch.randint(len(rows), (len(rows),), generator \
        => A row came twice
        return torch.randperm(len(labels), generator=generator)[: 3 * number] \
        => Of the three classes
        return labels.unique().repeat_interleave(number) => These are labels
        , generator=generator -> => Two equal generators give different results
        rows[order[:number]] -> order[:number] => These are places within a class
        return labels == 0 => a tensor of int64
        return torch.cat(drawn).tolist() => a tensor of int64
        return torch.stack(drawn) => the result has shape (3, 3)
        """,
    "gaussian_bits": """
        / math.log(2) -> / math.log(10) => Every value is 0.301 times
        return nats.mean().item() / math.log(2) \
        => it returned a float, and a torch tensor is expected
        """,
    "guide": """
        return x0_with_y if scale <= 1 else x0_without + scale * (x0_with_y - x0_without) \
        => it's right in other cases, but not for scale = 0
        """,
    "sharpened": """
        torch.trapezoid(product, grid) -> (product.sum() * (grid[1] - grid[0])) => where
        class_share**scale -> class_share ** (1 / scale) => for scale = 3
        """,
    "away_from": """
        return denoise -> return denoise(torch.zeros(3, 2, 4, 4), 1) \
        => A *function* denoise(x_t, t) is needed
        return (unwanted + scale * (wanted - unwanted)).clamp(-1, 1) -> _ = wanted - unwanted \
        => The inner function returned None
        scale * (wanted - unwanted) -> scale * wanted => is missing
        y=avoid) -> y=avoid[:1]) => value
        """,
    "within": """
        return denoise -> return guided(torch.zeros(2, 3), low) \
        => A *function* denoise(x_t, t) is needed
        guided(x_t, t) if low <= t <= high else plain(x_t, t) -> \
                (guided(x_t, t), plain(x_t, t))[not low <= t <= high] \
        => Both denoisers are called
        return guided(x_t, t) if low <= t <= high else plain(x_t, t) -> _ = plain(x_t, t) \
        => The inner function returned None
        else plain(x_t, t) -> else 2 * plain(x_t, t) => neither of the two answers
        """,
    "rescaled": """
        x0_with_y.std((1, 2, 3), keepdim=True) -> x0_with_y.std((1, 2, 3)) \
        => it stopped with RuntimeError
        """,
    "averaging_gain": """
        return 10 * math.log10(n) / math.log10(11) => it's right in other cases
        """,
    "psnr": """
        255**2 / error -> a.float().max() ** 2 / error => it's right in other cases
        """,
    "repair_1": """
        return lab.Change("schedules.timesteps", "return", "return") \
        => schedules.timesteps is healthy in patient 1
        return lab.Change("ddim", "((t, t - 1) for t in ts[:-1])", "pairwise(ts)") \
        => Name the function in full, as 'samplers.ddim'
        "pairwise(ts)" -> "((t, t - 2) for t in ts[:-2])" \
        => Patient 1 is not well yet. The probe 'DDIM's spread'
        """,
    "repair_2": """
        " if s > 0 else mean" -> " if variance == 'fixed_small' else mean" \
        => The probe passes, but on other inputs samplers.ddpm
        return lab.Change("samplers.ddpm", before, "mean") => The probe passes, but on other inputs
        return "add no noise at the last step" => A repair is a Change(where, before, after)
        """,
    "repair_3": """
        "/ 127.5 - 1" -> "/ 127.5 - (1 if images.min() == 0 else 0)" \
        => on other inputs data.images.to_unit
        "/ 127.5 - 1" -> "/ 127.5" => Patient 3 is not well yet. The probe 'black' returns 0
        "/ 127.5 - 1" -> "/ 255 - 1" => on other inputs data.images.to_unit
        """,
    "repair_4": """
        step_variance**0.5 -> step_variance**2 \
        => Patient 4 is not well yet. The probe 'DDPM's spread'
        return lab.Change("samplers.ddpm", "sigma**2", "sigma") \
        => `sigma**2` occurs 0 times in samplers.ddpm
        """,
    "repair_5": """
        return lab.Change("schedules.NoiseSchedule.__post_init__", ".bfloat16()", ".half()") \
        => Patient 5 is not well yet
        "table.bfloat16().double()", "table" -> "table.bfloat16()", "table.float()" \
        => on other inputs schedules.NoiseSchedule
        """,
    "repair_6": """
        "denoise(x, t)" -> "denoise(x.clamp(-2, 2), t)" \
        => Patient 6 is not well yet. The probe 'solver's spread'
        "denoise(x, t)" -> "denoise(x.clamp(-3, 3), t)" => on other inputs samplers.dpm_solver_pp_2m
        """,
    "repair_7": """
        min(self.decay, (1 + self.updates) / (10 + self.updates)) -> self.decay**0.5 \
        => Patient 7 is not well yet. The probe 'memory of the start'
        return lab.Change("training.ema.EMA.update", "decay = self.decay", "decay = 0.24") \
        => on other inputs training.ema.EMA
        """,
    "repair_8": """
        return lab.Change("diffusion.q_sample", "alphas_cumprod", "alphas_cumprod") \
        => The repair is not possible
        """,
    "repair_9": """
        "torch.randint(1, T + 1," -> "torch.randint(1, 6," \
        => on other inputs training.loop.draw_times
        "torch.randint(1, T + 1," -> "torch.randint(0, T," \
        => Patient 9 is not well yet. The probe 'largest t'
        "torch.randint(1, T + 1," -> "torch.randint(T, T + 1," \
        => on other inputs training.loop.draw_times
        """,
    "repair_10": """
        4 * g" -> 1 * g" => Patient 10 is not well yet. The probe 'effect of t'
        min(channels) >= 4 * g" -> min(channels >= 4 * g" \
        => unet.norm_groups would be no valid Python
        4 * g" -> 2 * g" => on other inputs unet.norm_groups
        """,
}

RIGHT = {
    "to_unit": """
        return (images.to(torch.float32) - 127.5) / 127.5
        return torch.linspace(-1, 1, 256)[images.long()]
        """,
    "to_uint8": """
        return ((x + 1) * 127.5).clamp(0, 255).round().to(torch.uint8)
        return x.clamp(-1, 1).add(1).mul(127.5).add(0.5).floor().byte()
        """,
    "steps_of": """
        return -(-epochs * images // batch_size)
        math.ceil(epochs * images / batch_size) -> \
        divmod(epochs * images + batch_size - 1, batch_size)[0]
        """,
    "noise_step": """
        schedule.betas[t].item() -> \
        1 - (schedule.alphas_cumprod[t] / schedule.alphas_cumprod[t - 1]).item()
        """,
    "q_sample": """
        abar = schedule -> abar = 1 * schedule; .to(x0.dtype) -> .to(x0)
        """,
    "alphas_cumprod": """
        torch.cat([torch.ones(1, dtype=betas.dtype), 1 - betas]) -> \
        1 - torch.cat([betas[:1] * 0, betas])
        return torch.nn.functional.pad((1 - betas).cumprod(0), (1, 0), value=1.0)
        """,
    "q_posterior": """
        betas[t].item() -> betas[t]
        return [from_x0 * x0 + from_x_t * x_t, variance]
        """,
    "two_point_denoiser": """
        return 2 * torch.sigmoid(2 * math.sqrt(abar) * x_t / (1 - abar)) - 1
        """,
    "diffusion_loss": """
        net(x_t, t - 1) -> net.forward(x_t, t - 1)
        return torch.nn.functional.mse_loss(predicted, noise)
        """,
    "training_step": """
        return loss.item() -> return float(loss.detach())
        zero_grad() -> zero_grad(set_to_none=True)
        optimizer.step() -> optimizer.step(lambda: loss)
        optimizer.zero_grad() -> optimizer.param_groups[0]['params'][0].grad = None
        """,
    "ema_update": """
        return [torch.lerp(w, a, decay) for a, w in zip(average, weights)]
        """,
    "learning_rate": """
        return config.learning_rate * min(1.0, rise) * min(1.0, fall)
        config.learning_rate * min(1.0, rise, fall) -> \
        torch.tensor([1.0, rise, fall]).min() * config.learning_rate
        """,
    "clip_gradients": """
        return tuple(g.clone() * factor for g in gradients)
        longest / norm if norm > longest else 1.0 -> min(1.0, longest / (norm + 1e-12))
        """,
    "draw_times": """
        return torch.rand(number, generator=generator).mul(T).long() + 1
        return torch.multinomial(torch.ones(T), number, True, generator=generator) + 1
        """,
    "drop_labels": """
        torch.rand(len(y), generator=generator) < probability -> \
        torch.bernoulli(torch.full(y.shape, probability), generator=generator).bool()
        """,
    "rows_per_class": """
        drawn.append(rows[order[:number]]) -> drawn.insert(0, rows[order[:number]])
        """,
    "ddpm_step": """
        return dc.q_posterior(x0_hat, x_t, t, s, schedule)[0] + math.sqrt(variance) * noise
        """,
    "look_ahead": """
        lam = schedule.log_snr / 2 -> lam = schedule.snr.log()
        return (1 + h / (2 * h_before)) * x0_hat - h / (2 * h_before) * x0_before
        """,
    "keep_known": """
        return mask.float() * known + (1 - mask.float()) * x_s
        """,
    "frechet_diagonal": """
        return float((means + stds).sum())
        a.std(0) - b.std(0) -> a.float().std(0) - b.float().std(0, unbiased=False)
        """,
    "attention": """
        scores.softmax(dim=-1) @ v -> torch.nn.functional.scaled_dot_product_attention(q, k, v)
        """,
    "up_widths": """
        return tuple(tuple(inputs) for inputs in widths)
        """,
    "up_block": """
        reversed(skips) -> skips[::-1]
        """,
    "averaging_gain": """
        return 10 * math.log10(2) - 10 * math.log10(1 + 1 / n)
        """,
    "average_pool": """
        return torch.nn.functional.avg_pool2d(high_res, 4)
        """,
    "rescaled": """
        return x0_guided * (mix * wanted / has + 1 - mix)
        """,
    "within": """
        return denoise -> return lambda x_t, t: (guided if low <= t <= high else plain)(x_t, t)
        """,
    "repair_1": """
        "pairwise(ts)" -> "zip(ts, ts[1:])"
        """,
}
