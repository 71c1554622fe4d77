"""The page in a browser, clicked through as by a person."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from support.chromium import needs_chromium, open_browser

import tensormoe as tm

pytestmark = needs_chromium
# A machine with other work to do is no fault.
PATIENCE = 30_000
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser, address: str) -> Iterator[Page]:
    """The lab at a desk's width; whatever its script complains about fails the test."""
    complaints: list[str] = []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda message: complaints.append(message.text))
    page.goto(address)
    expect(page.locator(".network img")).to_be_visible()
    yield page
    page.close()
    assert complaints == []


def test_a_layer_is_written_shown_and_saved(page: Page, tmp_path: Path) -> None:
    page.get_by_label("notation").fill("n p, i q, s o, p q s")
    expect(page.locator('[data-field="sizes"]')).to_have_text(
        "sizes: received 'r=64'; give each bond a size: add p=64 q=64 s=64, or other sizes"
    )
    page.get_by_label("bonds").fill("p=2 q=3 s=4")
    page.get_by_label("inputs").fill("8")
    page.get_by_label("outputs").fill("6")
    page.get_by_label("experts").fill("5")
    page.get_by_label("batch size").fill("7")
    page.get_by_label("bias").uncheck()
    network = tm.TensorNetwork("n p, i q, s o, p q s", p=2, q=3, s=4)
    spec = tm.MuMoESpec(8, 6, 5, network, bias=False)
    expect(page.locator(".python pre")).to_have_text(
        "import tensormoe as tm\n\n"
        "network = tm.TensorNetwork('n p, i q, s o, p q s', p=2, q=3, s=4)\n"
        "spec = tm.MuMoESpec(8, 6, experts=5, factorization=network, bias=False)"
    )
    expect(page.locator(".error:not(:empty)")).to_have_count(0)
    expect(page.locator(".details")).to_contain_text("Plan for 7 vectors")
    for step in spec.plan(7).steps:
        expect(page.locator(".details")).to_contain_text(step.expression)
    for line in spec.plan(7).steps, tm.prove(spec).steps:
        expect(
            page.locator(".details td", has_text=str(getattr(line[0], "law", "x[… i]"))).first
        ).to_be_visible()
    page.get_by_text("the theorem with its proof").click()
    expect(page.get_by_text("∎")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="save as JSON").click()
    download.value.save_as(tmp_path / "layer.json")
    assert download.value.suggested_filename == "layer.json"
    assert tm.spec_from_json((tmp_path / "layer.json").read_text()) == spec


def test_two_layers_are_compared(page: Page) -> None:
    page.get_by_role("button", name="compare with another layer").click()
    second = page.locator(".layer").nth(1)
    second.get_by_role("button", name="ring").click()
    expect(second.get_by_label("notation")).to_have_value("n p q, i q s, p s o")
    ring = tm.MuMoESpec(768, 3072, 16, tm.TensorNetwork("n p q, i q s, p s o", p=4, q=4, s=16))
    row = page.locator("#together tr", has_text="with the gate’s")
    expect(row.locator("td").nth(2)).to_have_text(f"{ring.num_parameters:,}")
    cp = tm.MuMoESpec(768, 3072, 16, tm.TensorNetwork("n r, i r, r o", r=64))
    expect(row.locator("td").nth(1)).to_have_text(f"{cp.num_parameters:,}")
    page.get_by_role("button", name="remove layer B").click()
    expect(page.locator(".layer")).to_have_count(1)
    expect(page.locator("#together table")).to_have_count(0)


def test_warnings_and_errors_stand_where_one_looks(page: Page) -> None:
    page.get_by_label("bonds").fill("r=64 <img src=x onerror=alert(1)>=3")
    expect(page.locator('[data-field="sizes"]')).to_contain_text("received '<img'")
    expect(page.get_by_label("bonds")).to_have_attribute("aria-invalid", "true")
    expect(page.locator(".network img")).to_have_count(0)
    page.get_by_label("notation").fill("n p, i r, r o p")
    page.get_by_label("bonds").fill("r=5000 p=2")
    expect(page.locator(".warnings")).to_contain_text("r has size 5000, but no more than 769 can matter")
    page.get_by_label("bonds").fill("r=99999999999999999999")
    expect(page.locator('[data-field="sizes"]')).to_contain_text("pass a positive integer")


def test_a_block_with_fixed_cores_is_written_and_saved(page: Page, tmp_path: Path) -> None:
    expect(page.get_by_label("nonlinearity")).to_be_hidden()
    page.get_by_label("hidden").fill("12")
    page.get_by_label("nonlinearity").fill("silu")
    page.get_by_label("gated block").check()
    page.get_by_label("gate", exact=True).fill("top_k k=2")
    page.get_by_label("gate’s norm").fill("none")
    page.get_by_label("inputs").fill("8")
    page.get_by_label("outputs").fill("6")
    page.get_by_label("notation").fill("n q, i q, H: q r, r o")
    page.get_by_label("bonds").fill("q=4 r=4")
    page.get_by_label("fixed cores").fill("H=magic")
    expect(page.locator('[data-field="fixed"]')).to_contain_text("received 'magic'")
    expect(page.get_by_label("fixed cores")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("fixed cores").fill("H=hadamard")
    expect(page.locator(".details")).to_contain_text("up layer")
    with page.expect_download() as download:
        page.get_by_role("button", name="save as JSON").click()
    download.value.save_as(tmp_path / "block.json")
    network = tm.TensorNetwork("n q, i q, H: q r, r o", q=4, r=4, fixed={"H": "hadamard"})
    gate = tm.Gate(tm.Activation("top_k", k=2), norm=None)
    block = tm.MuMoEBlockSpec(8, 12, 6, 16, network, gate, nonlinearity="silu", gated=True)
    assert tm.spec_from_json((tmp_path / "block.json").read_text()) == block


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction(browser: Browser, address: str, scheme: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(address)
    expect(page.locator(".network img")).to_be_visible()
    expect(page.locator("#together img")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    colors = "(({backgroundColor, color}) => [backgroundColor, color])(getComputedStyle(document.body))"
    ground, ink = page.evaluate(colors)
    brightness = [sum(map(int, color[4:-1].split(", "))) for color in (ground, ink)]
    assert abs(brightness[0] - brightness[1]) > 450
    assert (brightness[0] > brightness[1]) == (scheme == "light")
    page.close()
