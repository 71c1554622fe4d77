"""Measures the structures that have not been measured yet, and writes the gallery.

python -m benchmarks.gallery            # what is missing in results.json
python -m benchmarks.gallery --all      # everything anew
python -m benchmarks.gallery --page     # nothing: only docs/gallery.md and its pictures
"""

import argparse
import json

import torch

from .measure import measure
from .page import RESULTS, draw_all, read_results, write
from .structures import STRUCTURES


def main() -> None:
    """Measure, and save after each structure, so that an interrupted run goes on where it was."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="measure everything anew")
    parser.add_argument("--page", action="store_true", help="measure nothing")
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {} if options.all else read_results()
    for number, structure in enumerate(STRUCTURES, start=1):
        if options.page or structure.name in results:
            continue
        results[structure.name] = measured = measure(structure)
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{number:3} of {len(STRUCTURES)}  {structure.name}: {measured}", flush=True)
    draw_all()
    write(results)


if __name__ == "__main__":
    main()
