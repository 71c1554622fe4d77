"""Draw docs/images/lab.png: the page of `tensormoe lab` with two layers, in Chromium.

python docs/figures/lab.py
"""

import subprocess
import sys
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import Page, sync_playwright

OUTPUT = Path(__file__).parents[1] / "images" / "lab.png"
# A screen of 256 colours takes a third of the bytes.
WIDTH, HEIGHT, COLORS = 1200, 1120, 128


def main() -> None:
    """Compare two layers, and take the picture."""
    command = [sys.executable, "-m", "tensormoe", "lab", "--port", "0", "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab, sync_playwright() as playwright:
        address = (lab.stdout.readline() if lab.stdout else "").split()[4]
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(address)
        shot = take(page)
        browser.close()
        lab.terminate()
    picture = Image.open(BytesIO(shot)).convert("RGB").quantize(COLORS)
    picture.save(OUTPUT, optimize=True)


def take(page: Page) -> bytes:
    """CP of two levels beside a Tucker layer of one."""
    page.get_by_role("button", name="two levels").click()
    page.get_by_role("button", name="compare with another layer").click()
    second = page.locator(".layer").nth(1)
    second.get_by_role("button", name="Tucker").click()
    second.get_by_label("experts").fill("256")
    page.locator("#together td", has_text="256").wait_for()
    page.wait_for_timeout(1000)
    return page.screenshot()


if __name__ == "__main__":
    main()
