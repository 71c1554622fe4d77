"""How long Coq takes for certificates: the table of docs/certificates.md.

From the folder of tests, `python -m support.coq_times` measures what support/coq_times.json lacks and writes
both; `families`, `gallery` or `largest` behind it measures those alone, anew. Times are those of the
processor, which other work on the machine changes less than those of a clock.
"""

import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from support.certificate_page import PAGE
from support.coq import certificate, specs

import tensormoe as tm
from benchmarks.cases.startup import NETWORKS
from benchmarks.gallery.structures import STRUCTURES
from tensormoe.verification.coq.export import export

STORED = Path(__file__).with_suffix(".json")
SETS = {
    "families": "Named families, 1 to 3 levels",
    "gallery": "Gallery",
    "largest": "Largest plan: 40 cores",
}
_TABLE = re.compile(r"(?<=\| set \| certificates \|)[^\n]*\n(?:\|[^\n]*\n)+")
LARGEST = "grid, 4 levels, 40 cores"


def certificates(chosen: str) -> Iterator[tuple[str, str]]:
    """Certificates with all gradients by their names."""
    if chosen == "families":
        yield from ((name, certificate(spec)) for name, spec in specs())
    elif chosen == "gallery":
        for structure in STRUCTURES:
            for name, stage in structure.build().layers.items():
                yield f"{structure.anchor}, {name}", export(stage.contraction, stage.programs[0][1])
    else:
        yield LARGEST, certificate(eval(NETWORKS[LARGEST], {"tm": tm}))


def measure(text: str) -> tuple[float, int]:
    """The seconds of the processor, and the memory in megabytes, that coqc takes for a file."""
    with TemporaryDirectory(prefix="tensormoe-") as folder:
        Path(folder, "file.v").write_text(text, encoding="utf-8")
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        said = subprocess.run(
            ["coqc", "-q", "file.v"], cwd=folder, check=True, capture_output=True, encoding="utf-8"
        )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert said.stdout.strip() == "Closed under the global context", said.stdout
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(seconds, 2), after.ru_maxrss // 1024


def write_table(stored: dict[str, dict[str, list[float]]]) -> str:
    """One row for each set that is measured."""
    lines = [" median, s | longest, s | largest, kB |", "|---|---|---|---|---|"]
    for chosen, label in SETS.items():
        if rows := sorted(stored.get(chosen, {}).values()):
            seconds = [row[0] for row in rows]
            size = max(row[1] for row in rows)
            middle = seconds[len(seconds) // 2]
            lines.append(f"| {label} | {len(rows)} | {middle:.1f} | {seconds[-1]:.1f} | {size:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    stored: dict[str, dict[str, list[float]]] = json.loads(STORED.read_text()) if STORED.exists() else {}
    for chosen in sys.argv[1:]:
        stored[chosen] = {}
    for chosen in sys.argv[1:] or SETS:
        rows = stored.setdefault(chosen, {})
        for name, text in certificates(chosen):
            if name not in rows:
                seconds, memory = measure(text)
                rows[name] = [seconds, len(text.encode()) // 1000, memory]
                STORED.write_text(json.dumps(stored, indent=1) + "\n")
                print(f"{chosen}: {name}, {seconds} s", flush=True)
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(_TABLE.sub(lambda _: write_table(stored), page), encoding="utf-8")


if __name__ == "__main__":
    main()
