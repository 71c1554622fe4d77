"""What an experiment is: a configuration, what varies in it, how one trial runs, and what all of them say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Generic

from tensormoe.errors import TensorMoEError

from .results import Results
from .trial import C, Cell, Configuration, Outcome, Trial
from .verdicts import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# In the order of the page.
NAMES: tuple[str, ...] = ("specialization", "selection", "bias", "robustness", "language", "mixer", "cost")


@dataclass(frozen=True)
class Finding:
    """What an experiment says of one claim; a row of the page.

    Args:
        claim: what was published, in our words.
        source: author, year, and where.
        ran: what was run here.
        result: numbers with their intervals, all from the results.
        verdict: from `verdicts`, or "not testable here".
        why: what might explain it; it is left out where the claim holds.
    """

    claim: str
    source: str
    ran: str
    result: str
    verdict: Verdict
    why: str = ""

    def __post_init__(self) -> None:
        if self.verdict == "holds":
            object.__setattr__(self, "why", "")


@dataclass(frozen=True)
class Picture:
    """A figure of the page, drawn when it is needed."""

    name: str
    caption: str
    draw: Callable[[], "Figure"]


@dataclass(frozen=True)
class Report:
    """What the page says of an experiment: findings, pictures, and more text, such as tables."""

    findings: Sequence[Finding]
    pictures: Sequence[Picture] = ()
    text: str = ""


@dataclass(frozen=True)
class Experiment(Generic[C]):
    """An experiment, which a module of this folder has under the name EXPERIMENT.

    Args:
        name: that of the module and of its presets' file.
        title: its heading on the page.
        configuration: a frozen dataclass, whose fields the presets give.
        cells: what varies, in the order to run it in.
        run: one trial. It must follow from the configuration, the cell and the seed alone.
        report: findings and pictures from the results.
        threads: of PyTorch. One is fastest for small layers.
    """

    name: str
    title: str
    configuration: type[C]
    cells: Callable[[C], Sequence[Cell]]
    run: Callable[[C, Trial], Outcome]
    report: Callable[[C, Results], Report]
    threads: int = 1

    def trials(self, configuration: C) -> list[tuple[Cell, int]]:
        """All cells with all seeds: first every cell with the first seed."""
        cells = self.cells(configuration)
        return [(cell, seed) for seed in range(configuration.seeds) for cell in cells]


def find(name: str) -> Experiment[Configuration]:
    """The experiment of a name of this folder, or of a module of your own, such as "my_package.my_module"."""
    if name not in NAMES and "." not in name:
        remedy = f"choose one of {', '.join(NAMES)}, or pass the module of your own experiment, with a dot"
        raise TensorMoEError("experiment", name, remedy)
    module = import_module(name if "." in name else f"{__package__}.{name}")
    experiment: Experiment[Configuration] = module.EXPERIMENT
    return experiment
