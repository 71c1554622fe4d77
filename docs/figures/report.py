"""Draw docs/images/report.png: the report of the first sweep of docs/explore.md, in Chromium.

python docs/figures/report.py
"""

import re
import tempfile
from io import BytesIO
from pathlib import Path
from shutil import which

from PIL import Image
from playwright.sync_api import sync_playwright

from tensormoe.exploring import Study

DOCS = Path(__file__).parents[1]
# A screen of 128 colours takes a third of the bytes.
WIDTH, HEIGHT, COLORS = 1100, 860, 128


def main() -> None:
    """Run the sweep of the page, write its report, and point at the front."""
    names: dict[str, Study] = {}
    first = re.search(r"```python\n(.*?)```", (DOCS / "explore.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(first[1] if first else "", names)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = Path(folder) / "study.html"
        names["study"].report(path, title="Eight experts of rank 3")
        browser = playwright.chromium.launch(executable_path=which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.goto(path.as_uri())
        points = page.locator(".scatterlayer .trace").last.locator(".points path")
        points.first.wait_for()
        box = points.first.bounding_box() or {"x": 0, "y": 0, "width": 0, "height": 0}
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_timeout(500)
        shot = page.screenshot()
        browser.close()
    picture = Image.open(BytesIO(shot)).convert("RGB").quantize(COLORS)
    picture.save(DOCS / "images" / "report.png", optimize=True)


if __name__ == "__main__":
    main()
