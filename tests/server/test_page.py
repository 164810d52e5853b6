"""The page in headless Chromium, where there is one: what people click, type and see."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from liquid_mlx.server.app import Options
from liquid_mlx.server.guard import Access
from tests.server.conftest import serving

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of playwright's own processes
]
SHOTS = os.environ.get("LIQUID_SCREENSHOTS")  # a folder to look at them
PATIENCE = 240_000  # in milliseconds, for machines with much to do


@pytest.fixture(scope="module")
def site():
    with serving(["demo"], Options()) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[object]:
    with sync_api.sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture(params=[(1280, "light"), (390, "dark")], ids=["1280", "390"])
def page(request, browser, site):
    """The page at a width; nothing may go wrong on it, or leave this machine."""
    width, scheme = request.param
    size = {"width": width, "height": 900}
    context = browser.new_context(viewport=size, color_scheme=scheme)
    opened = context.new_page()
    opened.set_default_timeout(PATIENCE)
    wrong: list[str] = []
    opened.on("console", lambda message: message.type == "error" and wrong.append(message.text))
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "request",
        lambda one: one.url.startswith((site.url, "data:", "blob:")) or wrong.append(one.url),
    )
    opened.goto(site.url)
    opened.locator("#size option").first.wait_for(state="attached")
    opened.width = width
    yield opened
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(opened, request.node.name.removeprefix("test_").partition("[")[0])
    context.close()
    assert wrong == []


def shot(page, name):
    """A screenshot for people, where a folder is given for them."""
    if SHOTS:
        path = Path(SHOTS) / f"{name}-{page.width}.png"
        page.screenshot(path=str(path), full_page=True)


def draw(page, prompt="a red circle on a white background", seed="7", **fields):
    page.get_by_label("Prompt").fill(prompt)
    page.get_by_label("Seed").fill(seed)
    for name, value in fields.items():
        page.locator(f"#{name}").fill(value)
    page.get_by_role("button", name="Generate").click()


def canvas_box(page):
    """Where the selected picture is, once all of it can be seen and pressed."""
    canvas = page.locator("#canvas")
    canvas.scroll_into_view_if_needed()
    return canvas.bounding_box()


def drawn(page, count=1):
    """Wait until so many pictures are in the gallery."""
    page.locator("#gallery img").nth(count - 1).wait_for()


def test_a_picture_grows_row_by_row_and_goes_to_the_gallery(page):
    page.evaluate(
        """() => {
            window.seen = new Set();
            new MutationObserver(() => {
                for (const image of document.querySelectorAll('#stage img')) seen.add(image.src);
            }).observe(document.getElementById('stage'),
                       {subtree: true, childList: true, attributes: true});
        }"""
    )
    draw(page)
    drawn(page)
    assert page.evaluate("seen.size") >= 7  # six that are not whole, and the whole one
    assert "seed 7" in page.locator("#about").inner_text()
    page.get_by_label("Prompt").fill("")
    page.get_by_role("button", name="Use settings").click()
    assert page.get_by_label("Prompt").input_value().startswith("a red circle")
    assert page.get_by_label("Seed").input_value() == "7"


def test_stop_keeps_what_is_there(page, site):
    before = site.state.metrics.cancelled
    draw(page, count="10")
    page.locator("#stage img").first.wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_text("Stopped").wait_for()
    assert page.locator("#stage img").count() >= 1
    for _ in range(600):
        if site.state.scheduler.running == site.state.scheduler.waiting == 0:
            break
        page.wait_for_timeout(100)
    assert site.state.metrics.cancelled > before  # and the work ended with it


def test_pictures_are_changed_from_a_row_by_a_mask_and_by_variations(page):
    draw(page)
    drawn(page)
    page.get_by_label("Code grid").check()
    box = canvas_box(page)
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.55)
    rows = int(page.get_by_label("From row").get_attribute("max")) + 1
    assert page.get_by_label("From row").input_value() == str(int(rows * 0.55))
    shot(page, "row")
    page.get_by_label("Prompt").fill("a blue star on a white background")
    page.get_by_role("button", name="Again from here").click()
    drawn(page, 2)
    page.get_by_label("Mask brush").check()
    box = canvas_box(page)
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] * 0.6, steps=5)
    page.mouse.up()
    shot(page, "mask")
    page.get_by_role("button", name="Redraw mask").click()
    drawn(page, 3)
    page.get_by_role("button", name="Variations").click()
    drawn(page, 4)


def test_a_picture_is_asked_about_described_and_compared(page):
    draw(page)
    drawn(page)
    page.get_by_label("Question").fill("What colour is it?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.locator("#answer").filter(has_text=re.compile(r"\w")).wait_for()
    page.get_by_role("button", name="Caption").click()
    page.locator("#answer").filter(has_text=re.compile(r"\w")).wait_for()
    page.get_by_label("Choices").fill("red\nblue\ngreen")
    page.get_by_role("button", name="Compare").click()
    page.locator("#bars li").nth(2).wait_for()
    values = page.locator("#bars meter").evaluate_all("bars => bars.map((bar) => bar.value)")
    assert sum(values) == pytest.approx(1, abs=1e-4)
    assert values == sorted(values, reverse=True)


def test_the_best_of_some_is_shown_first_with_its_entropy(page):
    page.get_by_text("Settings", exact=True).click()
    page.get_by_label("Record entropy").check()
    draw(page, best_of="2")
    drawn(page, 2)
    assert "score" in page.locator("#about").inner_text()
    page.get_by_label("Entropy", exact=True).check()
    assert "nats" in page.locator("#most-entropy").inner_text()


def test_a_chat_shows_pictures_and_goes_on(page, tmp_path):
    Image.new("RGB", (64, 64), (222, 40, 44)).save(tmp_path / "red.png")
    page.get_by_role("tab", name="Chat").click()
    page.locator("#attach").set_input_files(tmp_path / "red.png")
    page.locator("#attached img").wait_for()
    page.get_by_label("Message").fill("What colour is it?")
    page.get_by_role("button", name="Send").click()
    page.locator(".message.assistant").wait_for()
    page.locator("#send:enabled").wait_for()
    page.get_by_label("Message").fill("a blue star on a white background")
    page.get_by_role("button", name="Draw it").click()
    page.locator("#send:enabled").wait_for()
    assert page.locator(".message img").count() == 2
    page.get_by_label("Message").fill("<b>What</b> colour is it?")  # words, never markup
    page.get_by_role("button", name="Send").click()
    page.locator("#send:enabled").wait_for()
    assert page.locator(".message b").count() == 0
    shot(page, "talk")
    page.get_by_role("tab", name="Draw").click()
    assert page.locator("#gallery img").count() == 1


def test_settings_are_read_from_a_picture_of_ours(page, tmp_path):
    from liquid_mlx import load

    load("demo").generate_image("a pink heart on a navy background", seed=3)[0].save(
        tmp_path / "ours.png"
    )
    page.locator("#open").set_input_files(tmp_path / "ours.png")
    drawn(page)
    page.get_by_text("settings are in the form").wait_for()
    assert page.get_by_label("Prompt").input_value() == "a pink heart on a navy background"
    assert page.get_by_label("Seed").input_value() == "3"


def test_the_keyboard_is_enough(page):
    page.get_by_label("Prompt").focus()
    page.keyboard.type("a red circle on a white background")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "generate"
    page.keyboard.press("Enter")
    drawn(page)
    page.locator("#brush").focus()
    page.keyboard.press("Space")
    page.locator("#canvas").focus()
    for key in ("ArrowDown", "ArrowRight", "Space"):
        page.keyboard.press(key)
    page.get_by_role("button", name="Redraw mask").focus()
    page.keyboard.press("Enter")
    drawn(page, 2)
    page.get_by_role("tab", name="Draw").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-chat"
    assert page.locator("#view-chat").is_visible()


def test_everything_to_press_or_fill_has_a_name(page):
    for view in ("Draw", "Chat"):
        page.get_by_role("tab", name=view).click()
        nameless = page.evaluate(
            """() => [...document.querySelectorAll('button, input, select, textarea, canvas')]
                .filter((one) => !one.labels?.length && !one.textContent.trim()
                        && !one.getAttribute('aria-label'))
                .map((one) => one.id)"""
        )
        assert nameless == []


def test_axe_finds_no_serious_fault(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    faults = []

    def look(state):
        for found in axe.run(page).response["violations"]:
            nodes = [(node["html"][:90], node["failureSummary"]) for node in found["nodes"]]
            faults.append((state, found["impact"], found["id"], nodes))

    look("empty")
    page.get_by_text("Settings", exact=True).click()
    draw(page, count="2")
    page.locator("#stage img").first.wait_for()
    look("drawing")
    drawn(page, 2)
    page.get_by_label("Mask brush").check()
    page.get_by_label("Question").fill("What colour is it?")
    page.get_by_label("Choices").fill("red\nblue")
    page.get_by_role("button", name="Compare").click()
    page.locator("#bars li").nth(1).wait_for()
    look("a picture")
    page.get_by_role("button", name="Chat about it").click()
    look("attached")
    page.get_by_label("Message").fill("What colour is it?")
    page.get_by_role("button", name="Send").click()
    page.locator("#send:enabled").wait_for()
    look("a chat")
    assert [fault for fault in faults if fault[1] in ("serious", "critical")] == []


def test_the_page_asks_for_the_key_and_works_with_it(browser, folder):
    with serving([folder], Options(access=Access(key="a secret"))) as locked:
        context = browser.new_context()
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto(locked.url)
        page.get_by_label("The server's key").fill("wrong")
        page.get_by_role("button", name="Unlock").click()
        page.locator("#status.error").wait_for()
        page.get_by_label("The server's key").fill("a secret")
        page.get_by_role("button", name="Unlock").click()
        page.locator("#size option").first.wait_for(state="attached")
        assert not page.get_by_label("The server's key").is_visible()
        draw(page, "a boat")
        drawn(page)
        context.close()
