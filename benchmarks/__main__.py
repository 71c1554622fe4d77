"""Runs the cases, prints what they measure and whether targets are met; status 1 if one is missed."""

import argparse
import time
import traceback
from importlib import import_module
from pathlib import Path

import torch

from . import report
from .figures import draw
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
    "nonlinearities": "gpt2",
    "one_token": "gpt2",
    "gpt2_model": "models",
    "levels": "levels",
    "decoders": "decoders",
    "structured": "structured",
    "paths": "paths",
    "experts": "experts",
    "sparse": "sparse",
    "similarity": "similarity",
    "ablation": "ablation",
    "in_jax": "in_jax",
    "gates": "gates",
    "compilation": "compilation",
    "startup": "startup",
    "recording": "recording",
    "candidates": "candidates",
}

# The number of processes that want to run, over the last minute, above which numbers say little.
BUSY = 0.5


def case(name: str) -> Case:
    """The function that measures the case of this name."""
    case: Case = getattr(import_module(f"{__package__}.cases.{CASES[name]}"), name)
    return case


def run(name: str, settings: Settings, failed: list[str]) -> list[Measurement]:
    """Measure one case, printing as it goes; its name is added to `failed` if it raises."""
    function = case(name)
    print(f"\n{name}: {(function.__doc__ or '').strip().splitlines()[0]}", flush=True)
    # What other cases compiled counts towards the number of times that a function may be compiled.
    torch._dynamo.reset()
    measured = []
    try:
        for item in function(settings):
            if isinstance(item, Measurement):
                measured.append(item)
                print("\n".join(report.lines(item)), flush=True)
            else:
                print(f"  {item}", flush=True)
    except Exception:  # whatever it is, the cases after it are still worth measuring
        traceback.print_exc()
        failed.append(name)
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
    if facts["load before"] > BUSY:
        print("The machine has other work to do: do not trust these ratios.")
    start = time.perf_counter()
    failed: list[str] = []
    results = {name: run(name, settings, failed) for name in options.cases or CASES}
    judged = verdicts(results)
    if options.figures:
        draw(options.figures, results, judged)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(report.as_json(facts, results, judged))
    missed = [verdict for verdict in judged if verdict.met is False]
    print(f"\n{time.perf_counter() - start:.0f} s; targets missed: {len(missed)} of {len(judged)}")
    for verdict in missed:
        print(f"{verdict.target.case:14s}{report.line(verdict)}")
    if failed:
        print(f"FAILED       {', '.join(failed)}: see the errors above")
    return 1 if missed or failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
