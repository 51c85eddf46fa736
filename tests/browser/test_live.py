"""The page `live` as its readers meet it: a flower that is PyTorch's, on a desk and on a telephone,
by keyboard, in the dark, and without WebAssembly.
"""

import re

import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

import ddpm_course as dc
from ddpm_course.data.flowers102 import species

FEW = "steps=3"  # enough to see each part work
DONE = "() => /A step takes/.test(document.getElementById('live-status').textContent)"
SHOWN = "() => document.querySelector('.live-x canvas').toDataURL()"


def open_live(page, address, settings=FEW):
    page.goto(f"{address}/live.html#{settings}")
    finish(page)


def finish(page):
    page.wait_for_function(DONE, timeout=120_000)
    expect(page.locator("#live-stop")).to_be_hidden()


def seek(page, position):
    page.locator("#live-position").fill(str(position))


def test_the_flower_is_that_of_the_package(page, address):
    """From our noise, by the function that the page offers, and from a seed."""
    page.goto(f"{address}/live.html#{FEW}")
    page.evaluate("() => window.flowers.ready")
    x_T = dc.randn((1, 3, 32, 32), dc.image_generators(3, 1))
    settings = {"sampler": "dpm_solver_pp_2m", "steps": 6, "spacing": "logsnr"}
    call = "settings => window.flowers.sample(settings).then(flower => [...flower])"
    chosen = settings | {"model": "flowers32-tiny", "label": 53, "guidance": 2.5}
    given = page.evaluate(call, chosen | {"noise": x_T.flatten().tolist()})
    seeded = page.evaluate(call, chosen | {"seed": 3})

    denoiser = dc.load_pretrained()
    denoise = dc.guided(denoiser, torch.tensor([53]), 2.5)
    ours = dc.sample(denoise, x_T.shape, denoiser.schedule, seed=3, **settings)
    for theirs in (given, seeded):
        flower = torch.tensor(theirs).view(ours.shape)
        torch.testing.assert_close(flower, ours.clamp(-1, 1), rtol=0, atol=1e-3)


def test_the_function_refuses_what_it_cannot_do(page, address):
    page.goto(f"{address}/live.html#{FEW}")
    page.evaluate("() => window.flowers.ready")
    call = "settings => window.flowers.sample(settings).catch(error => error.message)"
    assert "3·32·32 numbers, not 5" in page.evaluate(call, {"noise": [0] * 5})
    assert "choose flowers32-tiny" in page.evaluate(call, {"model": "mine"})
    assert "choose ddpm, ddim" in page.evaluate(call, {"sampler": "mine"})
    assert "1 to T = 1000 steps" in page.evaluate(call, {"steps": 0})


def test_time_moves_by_slider_and_by_keyboard(page, address):
    open_live(page, address, "sampler=ddpm&spacing=trailing&steps=4")
    t = page.locator("#live-t")
    expect(t).to_have_text("0")
    page.locator("#live-position").focus()
    page.keyboard.press("ArrowLeft")
    expect(t).to_have_text("250")
    expect(page.locator(".live-maths")).to_have_text(re.compile(r"x0 =.*x̂0", re.S))
    page.keyboard.press("Home")
    expect(t).to_have_text("1000")
    abar = dc.cosine_schedule().alphas_cumprod
    page.get_by_role("button", name="One step on").press("Enter")
    expect(t).to_have_text("750")
    expect(page.locator("#live-abar")).to_have_text(f"{abar[750]:.3g}")
    page.get_by_role("button", name="Play").press("Enter")
    expect(t).to_have_text("0")


def test_settings_make_other_flowers_and_the_address_brings_them_back(page, address):
    open_live(page, address)
    sunflower = page.evaluate(SHOWN)
    page.locator("[name=label]").select_option(label="Pink primrose")
    page.wait_for_function(f"before => ({SHOWN})() !== before", arg=sunflower)
    page.locator("[name=sampler]").select_option("ddim")
    expect(page.locator("[name=spacing]")).to_have_value("trailing")
    finish(page)
    seek(page, 2)
    expect(page.locator("#live-t")).to_have_text("333")
    primrose, link = page.evaluate(SHOWN), page.url
    assert f"label={species().index('pink primrose')}" in link

    page.goto("about:blank")
    page.goto(link)
    finish(page)
    expect(page.locator("#live-t")).to_have_text("333")
    assert page.evaluate(SHOWN) == primrose


def test_an_address_that_makes_no_sense_gives_the_first_flower(page, address):
    open_live(page, address, "steps=3&label=999&sampler=mine&guidance=x&b=what&b.mask=1")
    expect(page.locator("[name=label]")).to_have_value("53")
    expect(page.locator("[name=sampler]")).to_have_value("dpm_solver_pp_2m")
    assert page.locator(".live-stage").count() == 1


def test_two_settings_from_one_noise(page, address):
    open_live(page, address)
    page.get_by_role("button", name="Compare").click()
    finish(page)
    images = page.locator(".live-x canvas")
    pixels = "canvas => canvas.toDataURL()"
    assert images.nth(0).evaluate(pixels) == images.nth(1).evaluate(pixels)
    page.locator("[name=guidance]").fill("6")
    page.wait_for_function("() => location.hash.includes('b.guidance=6')")
    finish(page)
    assert images.nth(0).evaluate(pixels) != images.nth(1).evaluate(pixels)

    seek(page, 1)
    link = page.url
    page.goto("about:blank")
    page.goto(link)
    finish(page)
    captions = page.locator(".live-x figcaption")
    expect(captions.nth(1)).to_have_text(captions.nth(0).inner_text())
    expect(captions.nth(1)).not_to_contain_text("the flower")
    page.get_by_role("button", name="Close").click()
    assert page.locator(".live-stage").count() == 1


def test_new_noise_at_one_step(page, address):
    open_live(page, address, "sampler=ddpm&spacing=trailing&steps=4")
    button = page.get_by_role("button", name="New noise here")
    expect(button).to_be_disabled()
    seek(page, 2)
    button.click()
    finish(page)
    expect(page.locator(".live-about").nth(1)).to_have_text("new noise on the way to t = 500")
    images, pixels = page.locator(".live-x canvas"), "canvas => canvas.toDataURL()"
    seek(page, 1)
    assert images.nth(0).evaluate(pixels) == images.nth(1).evaluate(pixels)
    seek(page, 2)
    assert images.nth(0).evaluate(pixels) != images.nth(1).evaluate(pixels)


def test_inpainting_by_keyboard(page, address):
    open_live(page, address)
    page.get_by_role("button", name="Paint", exact=True).click()
    inpaint = page.get_by_role("button", name="Inpaint")
    expect(inpaint).to_be_disabled()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    inpaint.click()
    finish(page)
    expect(page.locator(".live-about").nth(1)).to_contain_text("the painted part")
    corner = "canvas => [...canvas.getContext('2d').getImageData(0, 0, 200, 200).data]"
    centre = "canvas => [...canvas.getContext('2d').getImageData(260, 290, 40, 40).data]"
    images = page.locator(".live-x canvas")
    assert images.nth(0).evaluate(corner) == images.nth(1).evaluate(corner)
    assert images.nth(0).evaluate(centre) != images.nth(1).evaluate(centre)


def test_sixteen_flowers_can_be_cancelled_and_chosen(page, address):
    open_live(page, address, "steps=2")
    generate = page.get_by_role("button", name="Generate sixteen")
    generate.click()
    expect(generate).to_be_disabled()
    page.get_by_role("button", name="Cancel").click()
    expect(generate).to_be_enabled()
    generate.click()
    expect(generate).to_be_enabled(timeout=120_000)
    tiles = page.locator("#live-grid .live-gallery button")
    assert tiles.count() == 16
    tiles.nth(4).click()
    page.wait_for_function("() => location.hash.includes('image=4')")


def test_between_two_seeds(page, address):
    open_live(page, address, "steps=1")
    page.get_by_role("button", name="Interpolate").click()
    canvases = page.locator("#live-between canvas")
    expect(canvases).to_have_count(8)
    expect(page.get_by_role("button", name="Interpolate")).to_be_enabled(timeout=120_000)
    images = [canvas.evaluate("canvas => canvas.toDataURL()") for canvas in canvases.all()]
    assert len(set(images)) == 8


@pytest.mark.parametrize("width", [390, 1280])
def test_everybody_can_use_it(page, address, width):
    """axe finds nothing in light or dark mode, nothing is too wide, and no other host is asked."""
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.set_viewport_size({"width": width, "height": 844})
    open_live(page, address, "steps=2&b=setting&b.sampler=ddim&b.spacing=trailing")
    page.get_by_role("button", name="Paint", exact=True).click()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page, context="#live").response["violations"]
        assert not found, [(f["id"], [n["html"][:200] for n in f["nodes"]][:3]) for f in found]
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert not [url for url in requested if not url.startswith((address, "data:", "blob:"))]


def test_without_webassembly_it_shows_a_recorded_trajectory(page, address):
    page.add_init_script("delete window.WebAssembly")
    page.goto(f"{address}/live.html")
    expect(page.locator(".live-recorded p")).to_contain_text("no WebAssembly")
    expect(page.locator(".live-recorded img")).to_be_visible()
    expect(page.locator(".live-app")).to_be_hidden()


def test_opened_as_a_file_it_says_what_it_needs(page, site):
    page.goto((site / "live.html").as_uri())
    expect(page.locator(".live-recorded p")).to_contain_text("only from a web server")
    expect(page.locator(".live-recorded img")).to_be_visible()
