"""Text shaded by coefficients, read back from its HTML."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tensormoe as tm
from tensormoe.analysis import Page, shade_text

VOID = {"meta"}


class Reader(HTMLParser):
    """The tags, which must be balanced; the spans of tokens; and all text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        # The text of a token, its coefficient, how dark it is, and whether it is the middle.
        self.tokens: list[tuple[str, float, float, bool]] = []
        self._token: dict[str, Any] | None = None
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.tags.append(tag)
        self.open += [] if tag in VOID else [tag]
        named = dict(attributes)
        if tag == "span" and "title" in named:
            self._token = {**named, "text": ""}

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if self._token:
            shade = re.search(r",([\d.]+)\)", self._token["style"])
            assert shade
            middle = "underline;" in self._token["style"]
            self.tokens.append((self._token["text"], float(self._token["title"]), float(shade[1]), middle))
        self._token = None

    def handle_data(self, data: str) -> None:
        self.text += f"{data}\n"
        if self._token:
            self._token["text"] += data


def test_tokens_around_the_largest_coefficient_are_shaded_by_theirs() -> None:
    a = np.array([0.0, 0.1, 0.2, 0.8, 0.4, 0.3, 0.05])
    tokens = [f" t{n}" for n in range(7)]
    page = shade_text(tokens, np.stack([a, 1 - a], axis=1), experts=[0], k=1, context=2)
    read = Reader(page.html)
    assert [each[:2] for each in read.tokens] == [(tokens[n], a[n]) for n in range(1, 6)]
    darkness = np.array([each[2] for each in read.tokens])
    np.testing.assert_allclose(darkness / darkness.max(), a[1:6] / 0.8, atol=2e-3)
    # The largest is as dark as the end of the scale.
    assert f"rgba(68,119,170,{darkness.max():.2f}))" in page.html
    assert [each[3] for each in read.tokens] == [False, False, True, False, False]
    assert "0.800" in read.text
    assert "expert 0" in read.text


def test_snippets_stay_in_their_text_and_apart_from_each_other() -> None:
    a = np.random.default_rng(0).dirichlet(np.ones(3), (4, 30))
    tokens = [[f" {row}.{n}" for n in range(30)] for row in range(4)]
    read = Reader(shade_text(tokens, a, experts=[1], k=6, context=4).html)
    shown = [token.strip() for token, *_ in read.tokens]
    assert len(shown) == len(set(shown))
    middles = [token.strip() for token, _, _, middle in read.tokens if middle]
    assert len(middles) == 6
    row, column = np.unravel_index(a[..., 1].argmax(), (4, 30))
    assert middles[0] == f"{row}.{column}"
    for middle in middles:
        row, column = map(int, middle.split("."))
        around = [f"{row}.{n}" for n in range(max(0, column - 4), min(30, column + 5))]
        place = shown.index(middle) - around.index(middle)
        assert shown[place : place + len(around)] == around


def test_whatever_tokens_are_they_stay_text() -> None:
    nasty = [
        "<script>alert(1)</script>",
        "&lt;",
        "\" onmouseover='x'",
        "\0\x1b",
        "\ud800",
        "a\nb",
        "</span>",
        "é東",
    ]
    page = shade_text(nasty, np.ones((8, 1)), context=20, title="<b>&</b>")
    read = Reader(page.html)
    assert {*read.tags} == {"html", "head", "meta", "title", "style", "body", "div", "h2", "span"}
    assert [each[0] for each in read.tokens] == [
        *nasty[:3],
        "\ufffd\ufffd",
        "\ufffd",
        "a⏎b",
        "</span>",
        "é東",
    ]
    assert read.text.split("\n").count("<b>&</b>") == 2
    assert page._repr_html_() in page.html
    assert not re.search(r"https?:|src=|href=|url\(|@import", page.html)


def test_a_page_is_a_file_in_utf_8(tmp_path: Path) -> None:
    page = shade_text(["é", "東"], np.eye(2))
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == page.html == str(page)
    with pytest.raises(tm.TensorMoEError, match="path"):
        page.save(tmp_path / "missing" / "page.html")


def test_an_expert_that_no_token_uses_has_no_snippet() -> None:
    read = Reader(shade_text(["a", "b"], np.array([[1.0, 0.0], [1.0, 0.0]]), experts=[1]).html)
    assert read.tokens == []
    assert "no token uses it" in read.text


@pytest.mark.parametrize("experts", [4, 64, 512])
def test_by_default_there_are_at_most_eight_experts(experts: int) -> None:
    a = np.random.default_rng(0).dirichlet(np.ones(experts), 30)
    text = Reader(shade_text(["x"] * 30, a).html).text
    expected = np.argsort(-a.sum(axis=0), kind="stable")[:8]
    assert [int(n) for n in re.findall(r"expert (\d+)", text)] == expected[: min(8, experts)].tolist()


A = np.ones((2, 3)) / 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: shade_text(["a"], A), "tokens: received '1 of them'; pass the text of each token"),
        (lambda: shade_text("ab", A), "tokens: received"),
        (lambda: shade_text([1, 2], A), "tokens: received 1; pass tokens as text"),
        (lambda: shade_text([["a", "b"], ["a"]], np.ones((2, 2, 3))), "tokens: received '1 of them'"),
        (lambda: shade_text([["a", "b"]], np.ones((2, 2, 3))), "tokens: received '1 lists'"),
        (lambda: shade_text(["a", "b"], np.nan * A), "coefficients: received nan"),
        (lambda: shade_text(["a", "b"], A, experts=[3]), "there are 3 experts"),
        (lambda: shade_text(["a", "b"], A, k=0), "k: received 0"),
        (lambda: shade_text(["a", "b"], A, context=-1), "context: received -1"),
        (lambda: Page("a", 3), "body: received 3"),
        (lambda: Page(3, "a"), "title: received 3"),
    ],
)
def test_what_cannot_be_shaded_is_refused(call: Any, message: str) -> None:
    with pytest.raises(tm.TensorMoEError, match=message):
        call()
