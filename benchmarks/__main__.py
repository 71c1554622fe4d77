"""Runs the cases, prints what they measure and whether targets are met; status 1 if one is missed."""

import argparse
import time
from importlib import import_module
from pathlib import Path

import torch

from . import report
from .suite import Case, Measurement, Settings
from .targets import verdicts

# Where each case is: its module is imported when it is run, since some need JAX and others do not.
CASES = {
    "tiny": "tiny",
    "clip_head": "vision",
    "mixer_tokens": "vision",
    "mixer_channels": "vision",
    "gpt2_cp": "gpt2",
    "gpt2_tr": "gpt2",
    "one_token": "gpt2",
    "levels": "levels",
    "experts": "experts",
    "compilation": "compilation",
    "startup": "startup",
}


def case(name: str) -> Case:
    """The function that measures the case of this name."""
    found: Case = getattr(import_module(f"{__package__}.{CASES[name]}"), name)
    return found


def run(name: str, settings: Settings) -> list[Measurement]:
    """Measure one case, printing as it goes."""
    function = case(name)
    print(f"\n{name}: {(function.__doc__ or '').strip().splitlines()[0]}", flush=True)
    # What other cases compiled counts towards the number of times that a function may be compiled.
    torch._dynamo.reset()
    measured = []
    for item in function(settings):
        if isinstance(item, Measurement):
            measured.append(item)
            print("\n".join(report.lines(item)), flush=True)
        else:
            print(f"  {item}", flush=True)
    for verdict in verdicts({name: measured}):
        print(report.line(verdict), flush=True)
    return measured


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="case", help=f"all by default: {', '.join(CASES)}")
    parser.add_argument("--threads", type=int, default=Settings.threads, help="of PyTorch")
    parser.add_argument("--rounds", type=int, default=Settings.rounds, help="at most")
    parser.add_argument("--seconds", type=float, default=Settings.seconds, help="for each measurement, about")
    parser.add_argument("--device", choices=("cpu", "cuda"), default=Settings.device)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--json", type=Path, help="a file to write all numbers to")
    parser.add_argument("--figures", type=Path, help="a folder to draw figures in")
    parser.add_argument("--mumoe", type=Path, help="a clone of the authors' code, to time that too")
    options = parser.parse_args()
    unknown = [name for name in options.cases if name not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}; there are {', '.join(CASES)}")
    fields = ("threads", "rounds", "seconds", "device", "seed", "mumoe")
    settings = Settings(**{field: getattr(options, field) for field in fields})
    torch.set_num_threads(settings.threads)

    facts = report.environment(settings)
    for name, value in facts.items():
        print(f"{name}: {value}")
    start = time.perf_counter()
    results = {name: run(name, settings) for name in options.cases or CASES}
    found = verdicts(results)
    if options.json:
        options.json.write_text(report.as_json(facts, results, found))
    missed = [verdict for verdict in found if verdict.met is False]
    print(f"\n{time.perf_counter() - start:.0f} s; targets missed: {len(missed)} of {len(found)}")
    for verdict in missed:
        print(f"{verdict.target.case:14s}{report.line(verdict)}")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
