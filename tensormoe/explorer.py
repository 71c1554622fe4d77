"""The command `tensormoe explore`: candidates at a budget, tried on a weight or by their costs alone."""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from . import interrupt
from .arguments import check_place, check_rest, read_bonds, split, whole
from .errors import TensorMoEError, one_of
from .layers.layer_spec import MuMoESpec
from .networks.factorization import Factorization
from .networks.families import CP, Dense, TensorRing, TensorTrain, Tucker
from .networks.notation import Notation
from .networks.tensor_network import TensorNetwork
from .tables import fold

if TYPE_CHECKING:
    from argparse import _SubParsersAction

    from .exploring import Budget, Study, Task

_TEXT = """\
Each candidate is matched to each budget, planned, proved, and fitted to a weight or only counted:
  tensormoe explore --in 64 --out 64 --experts 16 --parameters 9000
  tensormoe explore CP "n o, i o" --in 64 --out 64 --experts 16 --parameters 9000 --target experts.npy
Candidates are families (CP, Tucker, TensorTrain, TensorRing, Dense) or index notation; without any, these
families, Mixture of Decoders and low-rank experts. The last bond of a notation grows with the budget.
With --search, candidates are made, not listed:
  tensormoe explore --search 100 --in 64 --out 64 --experts 16 --parameters 9000 --target experts.npy
"""
_DEFAULT = ("CP", "Tucker", "TensorTrain", "TensorRing", "Dense", "n o, i o", "n i r, n r o")
# The size of bonds that do not grow, if --bond does not say it.
_BOND = 4
_OF_SWEEPS = {"candidates": "candidates", "--bond": "bond", "--seeds": "seeds"}


def add_command(commands: "_SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to those of `tensormoe`."""
    parser = commands.add_parser(
        "explore",
        help="find the factorizations that are best at a budget",
        allow_abbrev=False,
        description=_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("candidates", nargs="*", help="families or index notation")
    parser.add_argument("--in", dest="in_features", type=whole, required=True, help="input features")
    parser.add_argument("--out", dest="out_features", type=whole, required=True, help="output features")
    parser.add_argument("--experts", required=True, help="N, or one count for each level, as 16,16")
    parser.add_argument("--no-bias", dest="bias", action="store_false", help="no bias")
    parser.add_argument(
        "--bond", action="append", metavar="NAME=SIZE", help=f"a bond that does not grow (default: {_BOND})"
    )
    budgets = "a budget; repeat it for several"
    parser.add_argument("--parameters", type=whole, action="append", metavar="N", help=budgets)
    parser.add_argument("--macs", type=whole, action="append", metavar="N", help=f"{budgets}; a token")
    text = f"{budgets}; of a forward pass in NumPy on this machine"
    parser.add_argument("--seconds", type=float, action="append", metavar="S", help=text)
    parser.add_argument(
        "--target", type=Path, metavar="FILE", help="an .npy file of a weight (I, O) or of experts (N, I, O)"
    )
    parser.add_argument("--iterations", type=whole, default=1000, help="steps of each fit (default: 1000)")
    parser.add_argument("--seeds", type=whole, help="how many for each candidate (default: 1)")
    parser.add_argument("--search", type=whole, metavar="N", help="search for networks, and try so many")
    parser.add_argument("--method", help="of the search (default: one that suits the task)")
    parser.add_argument(
        "--cost",
        action="append",
        help="what to count, such as parameters,macs@1,-psi: separated by commas, or the option repeated",
    )
    text = "a file of JSON lines in which trials are kept, and from which the sweep goes on"
    parser.add_argument("--storage", type=Path, metavar="FILE", help=text)
    text = "processes; -1 for all cores (default: 1)"
    parser.add_argument("--workers", type=whole, default=1, metavar="N", help=text)
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the trials as JSON")
    text = "where to write a page with the front, and each candidate's network, plan, proof and curves"
    parser.add_argument("--report", type=Path, metavar="FILE", help=text)
    parser.set_defaults(run=_explore)


def _explore(options: argparse.Namespace, rest: list[str]) -> int:
    check_rest(rest)
    check_place("--storage", options.storage)
    check_place("--json", options.json)
    check_place("--report", options.report)
    if options.report is not None:
        from .exploring.report_front import check_plotly

        check_plotly()
    # Other processes and locks of files are left in order by an exception, not by the end of this process.
    interrupt.raise_it()
    study = _sweep(options) if options.search is None else _search(options)
    try:
        if options.json is not None:
            options.json.write_text(_to_json(study), encoding="utf-8")
        if options.report is not None:
            study.report(options.report)
    finally:
        print(study)
        failed = [trial for trial in study.trials if not trial.complete]
        print(fold(*dict.fromkeys(f"{trial.spec.factorization}: {trial.reason}" for trial in failed)))
    return 0 if study.complete else 1


def _sweep(options: argparse.Namespace) -> "Study":
    from .exploring import sweep
    from .exploring.sweep import COSTS

    if options.method is not None:
        raise TensorMoEError("--method", options.method, "a sweep has none: add --search, or leave it out")
    return sweep(
        [_read_candidate(each, options) for each in options.candidates or _DEFAULT],
        _read_budgets(options) or None,
        _read_task(options),
        1 if options.seeds is None else options.seeds,
        like=_read_layer(options),
        costs=COSTS if options.cost is None else split(options.cost),
        path=options.storage,
        jobs=options.workers,
        progress=sys.stderr.isatty(),
    )


def _search(options: argparse.Namespace) -> "Study":
    from .exploring import Space, cost_alone, search
    from .exploring.sweep import COSTS

    for flag, name in _OF_SWEEPS.items():
        if (value := getattr(options, name)) not in (None, []):
            raise TensorMoEError(flag, value, "this is of a sweep: leave it out, or leave out --search")
    budgets = _read_budgets(options)
    if len(budgets) > 1:
        raise TensorMoEError("budgets", [str(each) for each in budgets], "a search takes one budget")
    return search(
        budgets[0] if budgets else None,
        _read_task(options) or cost_alone(),
        Space(_read_layer(options)),
        method="auto" if options.method is None else options.method,
        trials=options.search,
        costs=COSTS if options.cost is None else split(options.cost),
        storage=options.storage,
        workers=options.workers,
        progress=sys.stderr.isatty(),
    )


def _read_layer(options: argparse.Namespace) -> MuMoESpec:
    counts = options.experts.split(",")
    if not all(count.isascii() and count.isdecimal() for count in counts):
        raise TensorMoEError("--experts", options.experts, "pass positive integers, as 16 or 16,16")
    experts = tuple(map(int, counts))
    return MuMoESpec(options.in_features, options.out_features, experts, Dense(), bias=options.bias)


def _read_candidate(text: str, options: argparse.Namespace) -> Factorization:
    levels = options.experts.count(",") + 1
    families = {
        "CP": lambda: CP(1),
        "Tucker": lambda: Tucker((*[_BOND] * levels, 1, 1)),
        "TensorTrain": lambda: TensorTrain((*[_BOND] * levels, 1)),
        "TensorRing": lambda: TensorRing((*[_BOND] * (levels + 1), 1)),
        "Dense": Dense,
    }
    if " " not in text.strip() and "," not in text:
        one_of("candidate", text, tuple(families))
        return families[text]()
    notation = Notation.parse(text)
    given = read_bonds(options.bond or [], options.bond or [])
    return TensorNetwork.with_sizes(text, {name: given.get(name, _BOND) for name in notation.bonds})


def _read_budgets(options: argparse.Namespace) -> "list[Budget]":
    from .exploring import Budget

    return [
        *(Budget(parameters=each) for each in options.parameters or ()),
        *(Budget(macs=each) for each in options.macs or ()),
        *(Budget(seconds=each) for each in options.seconds or ()),
    ]


def _read_task(options: argparse.Namespace) -> "Task | None":
    from .exploring import fit_to

    if options.target is None:
        return None
    try:
        weight = np.load(options.target, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise TensorMoEError("--target", str(options.target), f"it is not an .npy file ({error})") from error
    if not isinstance(weight, np.ndarray):
        raise TensorMoEError("--target", str(options.target), "pass an .npy file, which holds one array")
    return fit_to(weight, iterations=options.iterations)


def _to_json(study: "Study") -> str:
    front = [trial.number for trial in study.front()]
    trials = [trial.to_dict() for trial in study.trials]
    data = {"objectives": [*study.objectives], "front": front, "trials": trials}
    return json.dumps(data, indent=2, allow_nan=False) + "\n"
