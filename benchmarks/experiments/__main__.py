"""Runs the papers' experiments where they are not finished, and writes the page that says what holds.

python -m benchmarks.experiments                                  # all small ones, and docs/claims.md
python -m benchmarks.experiments selection --preset full --set seeds=3
python -m benchmarks.experiments --page                           # nothing: only the page and its pictures
"""

import argparse
from pathlib import Path

from tensormoe.errors import TensorMoEError

from . import page, presets, runner, storage
from .experiment import NAMES, find


def main() -> int:
    """Run experiments by name, one after the other; status 2 if an argument does not fit."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.experiments", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"{', '.join(NAMES)}, or a module; all by default"
    )
    parser.add_argument(
        "--preset", default="small", help="small, full, or another table of presets/NAME.toml"
    )
    parser.add_argument("--seeds", type=int, help="how many, in place of the preset's")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="in place of the preset's")
    parser.add_argument("--results", type=Path, default=storage.FOLDER, metavar="DIR")
    parser.add_argument("--all", action="store_true", help="run what is finished, too")
    parser.add_argument("--page", action="store_true", help="run nothing")
    parser.add_argument("--no-page", action="store_true", help="write no page and draw nothing")
    options = parser.parse_args()
    folder = options.results.resolve()
    names = options.names or NAMES
    try:
        changes = presets.parse(options.set)
        if options.seeds is not None:
            changes["seeds"] = options.seeds
        total = 0.0
        for name in () if options.page else names:
            experiment = find(name)
            configuration = presets.read(experiment, options.preset, changes)
            finished = runner.run(experiment, configuration, folder, anew=options.all)
            total += finished.minutes
            took = f"{len(finished.lines)} results, which took {finished.minutes:.1f} minutes"
            print(f"{name}: {took}, in {folder / experiment.name}.jsonl", flush=True)
        if not options.page:
            print(f"in all: {total:.1f} minutes, those of earlier runs among them")
        if options.page or not options.no_page:
            # The documentation's page has all experiments, whichever ran.
            own = folder == storage.FOLDER
            print(page.write() if own else page.write(folder, names, options.preset, changes))
    except TensorMoEError as error:
        parser.error(str(error))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
