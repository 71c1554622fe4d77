"""The page of the matrix: `python -m matrix.page`, from the folder of tests, writes its table."""

from collections.abc import Iterator
from pathlib import Path

from matrix.features import FAILURES, FAMILIES, FEATURES, FRAMEWORKS, Feature, failure_of

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
# The table is between these lines of the page.
BEGIN, END = "<!-- The next lines are written by tests/matrix/page.py. -->", "<!-- Until here. -->"


def lines() -> Iterator[str]:
    """The table, and the reasons that it refers to."""
    yield f"| feature | {' | '.join(FRAMEWORKS.values())} |"
    yield f"|---{'|---' * len(FRAMEWORKS)}|"
    notes: list[str] = []
    for feature in FEATURES:
        yield f"| {feature.name} | {' | '.join(cell(feature, name, notes) for name in FRAMEWORKS)} |"
    yield ""
    yield from (f"{number}. {note}" for number, note in enumerate(notes, 1))


def cell(feature: Feature, framework: str, notes: list[str]) -> str:
    """Whether a framework has a feature, by which words, and the number of what there is to say."""
    way = feature.way(framework)
    if isinstance(way, str):
        return f"– {refer(way, notes)}"
    failing = [(name, failure_of(feature, framework, name)) for name in FAMILIES]
    reasons = {name: failure.reason for name, failure in failing if failure}
    if not reasons:
        return f"✓ {way.words}"
    number = refer(next(iter(reasons.values())), notes)
    every = any(f.feature == feature.name and framework in f.frameworks and not f.families for f in FAILURES)
    return f"✗ {way.words} {number}" if every else f"✓ {way.words}, not {' or '.join(reasons)} {number}"


def refer(note: str, notes: list[str]) -> str:
    """The reference to a note, which is listed once."""
    if note not in notes:
        notes.append(note)
    return f"({notes.index(note) + 1})"


def written(text: str) -> str:
    """The page with today's table."""
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return "\n".join([before + BEGIN, "", *lines(), "", END]) + after


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
