"""Plausible wrong answers to the exercises of notebook 00, and what each is told."""

import math

import torch


def to_unit__zero_to_one(images):
    return images.float() / 255


def to_unit__by_128(images):
    return images.float() / 128 - 1


def to_unit__overflows(images):
    return images * 2 / 255 - 1


def to_unit__overflows_around_128(images):
    return (images - 128) / 127.5


def to_unit__not_divided(images):
    return images.float() - 127.5


def to_unit__not_centred(images):
    return images.float() / 127.5


def to_unit__half_as_wide(images):
    return images.float() / 255 - 0.5


def to_unit__only_floats(images):
    return images.float()


def to_unit__whole_numbers(images):
    return (images.float() / 127.5 - 1).to(torch.int8)


def to_unit__double(images):
    return images.double() / 127.5 - 1


def to_unit__negative(images):
    return 1 - images.float() / 127.5


def to_unit__by_its_own_range(images):
    x = images.float()
    return (x - x.min()) / (x.max() - x.min()) * 2 - 1


def to_unit__standardised(images):
    return (images.float() - 127.5) / 73.9


def to_unit__whole_division(images):
    return images.float() // 128 * 2 - 1


def to_unit__bent(images):
    return (images.float() / 255) ** 2.2 * 2 - 1


def to_unit__forgets_return(images):
    images = images.float() / 127.5 - 1


def to_uint8__no_clipping(x):
    return ((x + 1) * 127.5).round().int().to(torch.uint8)


def to_uint8__cuts_off(x):
    return ((x.clamp(-1, 1) + 1) * 127.5).to(torch.uint8)


def to_uint8__times_255(x):
    return (x.clamp(0, 1) * 255).round().to(torch.uint8)


def to_uint8__forgets_the_1(x):
    return (x * 127.5).clamp(0, 255).round().to(torch.uint8)


def to_uint8__twice_too_much(x):
    return ((x + 1) * 255).clamp(0, 255).to(torch.uint8)


def to_uint8__times_128(x):
    return ((x.clamp(-1, 1) + 1) * 128).int().to(torch.uint8)


def to_uint8__clips_to_01(x):
    return ((x.clamp(0, 1) + 1) * 127.5).round().to(torch.uint8)


def to_uint8__floats(x):
    return ((x.clamp(-1, 1) + 1) * 127.5).round()


def to_uint8__in_place(x):
    return ((x.clamp_(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def to_uint8__rounds_up(x):
    return ((x.clamp(-1, 1) + 1) * 127.5).ceil().to(torch.uint8)


def to_uint8__forgets_return(x):
    x = ((x.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def steps_of__rounds_down(epochs, images, batch_size):
    return epochs * images // batch_size


def steps_of__each_epoch_up(epochs, images, batch_size):
    return epochs * math.ceil(images / batch_size)


def steps_of__each_epoch_down(epochs, images, batch_size):
    return epochs * (images // batch_size)


def steps_of__one_epoch(epochs, images, batch_size):
    return math.ceil(images / batch_size)


def steps_of__one_image_a_step(epochs, images, batch_size):
    return epochs * images


def steps_of__not_rounded(epochs, images, batch_size):
    return epochs * images / batch_size


def steps_of__one_more(epochs, images, batch_size):
    return epochs * images // batch_size + 1


def steps_of__float(epochs, images, batch_size):
    return float(math.ceil(epochs * images / batch_size))


def steps_of__one_example(epochs, images, batch_size):
    return 17914


def steps_of__forgets_return(epochs, images, batch_size):
    math.ceil(epochs * images / batch_size)


WRONG = {
    to_unit__zero_to_one: "you scale to [0, 1]",
    to_unit__by_128: "255 becomes 0.992",
    to_unit__overflows: "but 128 falls back to -1",
    to_unit__overflows_around_128: "127 becomes 2, but 128 falls back to 0",
    to_unit__not_divided: "did not divide",
    to_unit__not_centred: "subtract 1 to centre",
    to_unit__half_as_wide: "only ±0.5",
    to_unit__only_floats: "still run from 0 to 255",
    to_unit__whole_numbers: "torch.int8, whole numbers",
    to_unit__double: "torch.float64; networks",
    to_unit__negative: "black and white are swapped",
    to_unit__by_its_own_range: "different numbers in different batches",
    to_unit__standardised: "0 becomes -1.725 and 255 becomes 1.725",
    to_unit__whole_division: "256 shades go in and 2 come out",
    to_unit__bent: "132 becomes -0.53",
    to_unit__forgets_return: "to_unit: it returned None",
    to_uint8__no_clipping: "-1.500 becomes 192, not 0: what lies outside [-1, 1]",
    to_uint8__cuts_off: "you cut the decimals off",
    to_uint8__times_255: "as if x ran from 0 to 1",
    to_uint8__forgets_the_1: "you forgot to add 1",
    to_uint8__twice_too_much: "255 is twice too much",
    to_uint8__times_128: "you multiply by 128",
    to_uint8__clips_to_01: "you clip to [0, 1]",
    to_uint8__floats: "the result is torch.float32",
    to_uint8__in_place: "you write into x",
    to_uint8__rounds_up: "-0.998 becomes 1, not 0",
    to_uint8__forgets_return: "to_uint8: it returned None",
    steps_of__rounds_down: "some images are still to come",
    steps_of__each_epoch_up: "you round up in each epoch",
    steps_of__each_epoch_down: "you drop what is left over in each epoch",
    steps_of__one_epoch: "you leave out the epochs",
    steps_of__one_image_a_step: "you leave out batch_size",
    steps_of__not_rounded: "part of a step cannot be done",
    steps_of__one_more: "the batches come out even",
    steps_of__float: "it returned a float",
    steps_of__one_example: "steps_of(2, 64, 32) is 17914, not 4",
    steps_of__forgets_return: "steps_of: it returned None",
}
