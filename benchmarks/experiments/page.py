"""Writes "Do the claims hold?" from the results: no number on it comes from anywhere else."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from . import presets, rates, storage
from .experiment import NAMES, Experiment, Finding, Report, find
from .results import Results
from .trial import Configuration

DOCS = Path(__file__).parents[2] / "docs"
PAGE, PICTURES = DOCS / "claims.md", DOCS / "images" / "claims"

_HEAD = """\
# Do the claims hold?

Two papers are behind this library: *Multilinear Mixture of Experts: Scalable Expert Specialization through
Factorization* (Oldfield et al., 2024) and *Tight Clusters Make Specialized Experts* (Nielsen et al., 2025).
Their claims are tested here again, at a size that a computer without a graphics processor can run. A claim
that fails here is not refuted: it fails at this size, with these data. It is
undecided where intervals are too wide to tell.

`make experiments` runs what is missing and writes this page.
`python -m benchmarks.experiments NAME --preset full` runs larger sizes, for those who have the data and the
processors. Intervals are Student's, 95 %, over seeds. Learning rates come from one grid for all contenders,
by accuracy or loss on validation data that no result uses.
"""


def write(
    folder: Path = storage.FOLDER,
    names: Sequence[str] = NAMES,
    preset: str = "small",
    changes: Mapping[str, object] | None = None,
) -> Path:
    """Write the page and its pictures: into docs/, or beside results that are elsewhere.

    Args:
        folder: of the results.
        names: of the experiments on the page.
        preset, changes: the configuration whose results are shown.
    """
    page, pictures = (PAGE, PICTURES) if folder == storage.FOLDER else (folder / "claims.md", folder)
    import matplotlib

    matplotlib.use("Agg")
    pictures.mkdir(parents=True, exist_ok=True)
    for _, _, report in reports(folder, names, preset, changes):
        for picture in report.pictures if report else ():
            with matplotlib.rc_context({"savefig.dpi": 110, "savefig.bbox": "tight"}):
                picture.draw().savefig(pictures / f"{picture.name}.png", metadata={"Software": None})
    page.write_text(text(folder, names, preset, changes), encoding="utf-8")
    return page


def text(
    folder: Path = storage.FOLDER,
    names: Sequence[str] = NAMES,
    preset: str = "small",
    changes: Mapping[str, object] | None = None,
) -> str:
    """The page."""
    images = "images/claims/" if folder == storage.FOLDER else ""
    overview = ["| claim | source | verdict |", "|---|---|---|"]
    sections = []
    for experiment, own, report in reports(folder, names, preset, changes):
        findings = report.findings if report else ()
        overview += [_row(_link(each, experiment), each.source, _strong(each)) for each in findings]
        sections.append(_section(experiment, own, report, preset, images))
    return "\n".join([_HEAD, *overview, "", *sections])


def reports(
    folder: Path, names: Sequence[str], preset: str, changes: Mapping[str, object] | None = None
) -> Iterator[tuple[Experiment[Configuration], Results, Report | None]]:
    """Each experiment with its results and what it says of them; None if a trial is missing."""
    for name in names:
        experiment = find(name)
        configuration = presets.read(experiment, preset, changes)
        own = storage.select(experiment, configuration, folder / f"{experiment.name}.jsonl")
        complete = len(own.lines) == len(experiment.trials(configuration))
        yield experiment, own, experiment.report(configuration, own) if complete else None


def _section(
    experiment: Experiment[Configuration], own: Results, report: Report | None, preset: str, images: str
) -> str:
    command = f"python -m benchmarks.experiments {experiment.name} --preset {preset}"
    if report is None:
        return f"## {experiment.title}\n\nNot all of it has been run: `{command}`.\n"
    parts = [
        f"## {experiment.title}",
        "\n".join(
            [
                "| claim | what was run | result | verdict |",
                "|---|---|---|---|",
                *(_row(each.claim, each.ran, each.result, _strong(each)) for each in report.findings),
            ]
        ),
        *(f"*{each.claim.rstrip('.')}*: {each.why}" for each in report.findings if each.why),
        *(f"![{each.caption}]({images}{each.name}.png)\n\n{each.caption}" for each in report.pictures),
        report.text.strip(),
        rates.tell(own),
        f"{_effort(own)} `{command}` runs it again.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _effort(own: Results) -> str:
    minutes = sum(line["cpu_seconds"] for line in own.lines) / 60
    hardware = " and ".join(sorted({line["hardware"] for line in own.lines}))
    torch = " and ".join(sorted({line["versions"].get("torch", "") for line in own.lines} - {""}))
    version = f", PyTorch {torch}" if torch else ""
    trials = f"{len(own.lines)} trials, {own.seeds} seeds"
    return f"{trials}, {minutes:.1f} minutes of a processor ({hardware}{version})."


def _strong(finding: Finding) -> str:
    return f"**{finding.verdict}**"


def _link(finding: Finding, experiment: Experiment[Configuration]) -> str:
    anchor = "".join(
        letter if letter.isalnum() else "-" for letter in experiment.title.lower() if letter not in ",:?'()"
    )
    return f"[{finding.claim}](#{anchor})"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
