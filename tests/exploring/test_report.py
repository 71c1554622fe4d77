"""A study's report, read back as strict HTML and looked at in a browser; its figure, read back."""

import json
import re
import sys
from collections.abc import Iterator
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from support.chromium import needs_chromium, open_browser

import tensormoe as tm
from tensormoe.cli import main

Trial, Study = tm.explore.Trial, tm.explore.Study
REASON = "the task raised ValueError('<script>alert(1)</script> & more')"
FAMILIES = [tm.CP(2), tm.CP(8), tm.Tucker((2, 3, 4)), tm.TensorNetwork("n o, i o + n r, i r, r o", r=2)]
ERRORS = [0.9, 0.3, 0.2, 0.95]


def make_study(seeds: int = 2) -> tm.explore.Study:
    """Errors that are known: those of two seeds lie 0.01 beside their mean."""
    trials = []
    for family, error in zip(FAMILIES, ERRORS, strict=True):
        spec = tm.MuMoESpec(8, 6, 4, family)
        for seed in range(seeds):
            value = error + 0.01 * (seed * 2 - 1) if seeds > 1 else error
            values = {"error": value, "parameters": float(spec.num_parameters)}
            curve = (2 * value, 1.5 * value, value)
            trials.append(Trial(spec, values=values, seed=seed, proved=True, number=len(trials), curve=curve))
    spec = tm.MuMoESpec(8, 6, 4, tm.CP(3))
    trials.append(Trial(spec, state="failed", reason=REASON, number=len(trials)))
    return Study(tuple(trials), ("error", "parameters"))


STUDY = make_study()
# Of these families, by hand: CP(2) has the fewest parameters, Tucker the smallest error.
BEST = {"Tucker(ranks=(2, 3, 4))", "CP(rank=2)"}


class Strict(HTMLParser):
    """Checks that every element closes in turn, and collects scripts, links and addresses."""

    EMPTY = ("meta", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.texts: list[str] = []
        self.scripts = 0
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.scripts += tag == "script"
        self.addresses += [value or "" for name, value in attributes if name in ("src", "href", "srcset")]
        assert not [name for name, _ in attributes if name.startswith("on")]

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert tag in self.EMPTY
        self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.texts.append(data)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    STUDY.report(path)
    return path


def test_the_front_is_the_one_that_was_made() -> None:
    assert {str(trial.spec.factorization) for trial in STUDY.front()} == BEST


def test_a_report_is_one_file_that_asks_for_no_other(path: Path) -> None:
    read = Strict(path.read_text(encoding="utf-8"))
    assert [
        each for each in read.addresses if not each.startswith(("data:image/svg+xml;base64,", "#candidate"))
    ] == []
    # What Plotly is set up with, Plotly, its data, and the page's own.
    assert read.scripts <= 5
    assert [each.name for each in path.parent.iterdir()] == ["report.html"]


def test_a_report_says_what_the_study_says(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    read = "\n".join(Strict(text).texts)
    assert "8 complete trials of 4 candidates, 1 failed, 2 on the Pareto front" in read
    assert REASON in read
    for family, error in zip(FAMILIES, ERRORS, strict=True):
        spec = tm.MuMoESpec(8, 6, 4, family)
        # Student's quantile for two seeds, 12.706, by the standard error of values 0.02 apart.
        assert f"{error:.4g} ± {12.706 * 0.01:.2g}" in read
        assert spec.plan()._repr_html_() in text
        assert tm.prove(spec)._repr_html_() in text
        assert escape(spec.to_json()) in text
    assert len(re.findall(r'class="curve"', text)) == 4


def test_points_of_the_plot_have_the_studys_values(path: Path) -> None:
    data = re.search(
        r'Plotly\.newPlot\(\s*"front",\s*(\[.*?\]),\s*\{"', path.read_text(encoding="utf-8"), re.DOTALL
    )
    assert data is not None
    others, best = json.loads(data[1])
    points = {
        trace["name"]: {re.split("<br>", text)[0] for text in trace["text"]} for trace in (others, best)
    }
    assert points == {"Pareto front": BEST, "others": {escape(str(each)) for each in FAMILIES} - BEST}


def test_long_studies_are_cut_and_say_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from tensormoe.exploring import report

    monkeypatch.setattr(report, "_MOST_ROWS", 3)
    monkeypatch.setattr(report, "_MOST_SHOWN", 2)
    STUDY.report(tmp_path / "report.html")
    read = "".join(Strict((tmp_path / "report.html").read_text(encoding="utf-8")).texts)
    assert "the first 3 of 4 rows" in read
    assert "the first 2 of 4 candidates" in read


@pytest.mark.parametrize("trials", [(), STUDY.trials[-1:], make_study(1).trials])
def test_studies_without_trials_values_or_seeds_have_a_report(
    trials: tuple[Any, ...], tmp_path: Path
) -> None:
    for objectives in (("error",), ("error", "parameters")):
        Study(trials, objectives).report(tmp_path / "report.html")
        Strict((tmp_path / "report.html").read_text(encoding="utf-8"))
        Study(trials, objectives).draw()


def test_what_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(tm.TensorMoEError, match="title: received 3"):
        STUDY.report(tmp_path / "a.html", title=3)  # type: ignore[arg-type]
    with pytest.raises(tm.TensorMoEError, match="path: received 3"):
        STUDY.report(3)  # type: ignore[arg-type]
    with pytest.raises(tm.TensorMoEError, match="path: received"):
        STUDY.report(tmp_path / "missing" / "a.html")
    monkeypatch.setitem(sys.modules, "plotly.io", None)
    with pytest.raises(tm.TensorMoEError, match=r'pip install "tensormoe\[explore\]"'):
        STUDY.report(tmp_path / "a.html")
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["explore", "CP", "--in", "8", "--out", "6", "--experts", "4", "--parameters", "200", "--report"]
    assert main([*words, str(tmp_path / "a.html")]) == 0
    read = "".join(Strict((tmp_path / "a.html").read_text(encoding="utf-8")).texts)
    assert str(tm.MuMoESpec(8, 6, 4, tm.CP(1)).matched(200).factorization) in read
    assert main([*words, str(tmp_path / "missing" / "a.html")]) == 2
    assert "--report: received" in capsys.readouterr().err


def test_the_title_is_text(tmp_path: Path) -> None:
    STUDY.report(tmp_path / "a.html", title="<b>mine</b>")
    assert "<b>mine</b>" in "".join(Strict((tmp_path / "a.html").read_text(encoding="utf-8")).texts)


def test_a_notebook_shows_the_front() -> None:
    shown = ElementTree.fromstring(f"<div>{STUDY._repr_html_()}</div>")
    names = {row.find("td").text for row in shown.iter("tr") if row.find("td") is not None}  # type: ignore[union-attr]
    assert names == BEST
    assert "9 trials, 8 complete" in "".join(shown.itertext())


def test_the_figure_has_a_point_for_each_candidate_and_names_the_best() -> None:
    figure = STUDY.draw(title="mine")
    (axis,) = figure.axes
    points = np.concatenate([container[0].get_xydata() for container in axis.containers])  # type: ignore[index]
    expected = [
        (trial.values["parameters"], error) for trial, error in zip(STUDY.trials[:8:2], ERRORS, strict=True)
    ]
    np.testing.assert_allclose(sorted(map(tuple, points)), sorted(expected))
    assert {text.get_text() for text in axis.texts} == BEST
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("parameters", "error")
    turned = STUDY.draw(x="error", y="parameters").axes[0]
    assert (turned.get_xlabel(), turned.get_ylabel()) == ("error", "parameters")
    assert figure.get_suptitle() == "mine"
    with pytest.raises(tm.TensorMoEError, match="objective: received 'speed'"):
        STUDY.draw(x="speed")


def test_names_of_a_crowded_front_do_not_cover_each_other() -> None:
    spec = tm.MuMoESpec(8, 6, 4, tm.CP(1))
    trials = [
        Trial(
            spec.replace(factorization=tm.CP(rank)),
            values={"error": 1 / rank, "seconds@1": rank},
            number=rank,
        )
        for rank in range(1, 200)
    ]
    figure = Study(tuple(trials), ("error", "seconds@1")).draw()
    (axis,) = figure.axes
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in axis.texts]
    assert 5 < len(boxes) < 60
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert {"CP(rank=1)", "CP(rank=199)"} <= {text.get_text() for text in axis.texts}
    assert axis.get_xlabel() == "seconds@1 (s a batch)"


def test_a_gate_that_json_cannot_hold_has_a_report(tmp_path: Path) -> None:
    gate = tm.Gate(lambda logits: logits)
    trial = Trial(tm.MuMoESpec(8, 6, 4, tm.CP(1), gate), values={"error": 1.0})
    Study((trial,), ("error",)).report(tmp_path / "a.html")
    read = "".join(Strict((tmp_path / "a.html").read_text(encoding="utf-8")).texts)
    assert "1 complete trial, 1 on the Pareto front" in read
    assert "gate activation: received" in read


@pytest.fixture(scope="module")
def page(path: Path) -> Iterator[Page]:
    """The report in a browser, which fails the test if the page asks for anything or complains."""
    complaints: list[str] = []
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda request: complaints.append(request.url) if request.url.startswith("http") else None,
        )
        page.goto(path.as_uri())
        yield page
    assert complaints == []


@needs_chromium
def test_a_table_sorts_by_the_heading_that_is_clicked(page: Page) -> None:
    def column() -> list[str]:
        return page.locator("#table td:nth-child(2)").all_inner_texts()

    assert {*column()[:2]} == BEST
    page.get_by_role("button", name="error").click()
    expected = [
        str(family) for _, family in sorted(zip(ERRORS, FAMILIES, strict=True), key=lambda each: each[0])
    ]
    assert column() == expected
    page.get_by_role("button", name="error").click()
    assert column() == expected[::-1]


@needs_chromium
def test_a_point_shows_its_network_and_a_phone_the_whole_page(page: Page) -> None:
    points = page.locator(".scatterlayer .points path")
    expect(points).to_have_count(4)
    box = points.last.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.locator("#pointed h3")).to_contain_text("on the front")
    expect(page.locator("#pointed img")).to_be_visible()
    page.get_by_text("proof", exact=True).first.click()
    expect(page.locator("details[open] td", has_text="distributive law").first).to_be_visible()
    page.set_viewport_size({"width": 390, "height": 844})
    # The plot fits itself to the screen a moment later.
    page.wait_for_function("document.documentElement.scrollWidth === 390")
