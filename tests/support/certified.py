"""Certificates of random networks, and what Coq takes for them: `python -m support.certified 200`.

Prints a line for each program of different networks, then the median time. Times are those of coqc's process
alone, in seconds of one processor.
"""

import statistics
import sys
from collections.abc import Iterator
from resource import RUSAGE_CHILDREN, getrusage

from hypothesis import HealthCheck, Phase, given, seed, settings

import tensormoe as tm
from tensormoe.testing import specs
from tensormoe.verification.certificates import list_programs, write_certificate
from tensormoe.verification.coq.check import check_certificate
from tensormoe.verification.coq.export import export


def random_certificates(
    count: int, number: int = 0, short: bool = False
) -> Iterator[tuple[tm.MuMoESpec, str]]:
    """Different certificates of so many networks, drawn as tests draw them.

    Args:
        count: how many networks.
        number: the seed.
        short: whether only every fifth certificate has gradients.
    """
    networks: dict[str, tm.MuMoESpec] = {}

    @seed(number)
    @settings(
        max_examples=4 * count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(specs())
    def draw(spec: tm.MuMoESpec) -> None:
        networks.setdefault(str(spec.network), spec)

    draw()
    made = set()
    for spec in [*networks.values()][:count]:
        for name, _, program in list_programs(spec):
            if short and len(made) % 5:
                text = export(spec.layers[name].contraction, program, gradients=False)
            else:
                text = write_certificate(spec, name, program)
            if text not in made:
                made.add(text)
                yield spec, text


def main(count: int, number: int = 0) -> None:
    times, refused = [], 0
    for spec, text in random_certificates(count, number):
        before = getrusage(RUSAGE_CHILDREN)
        verdict = check_certificate(text)
        after = getrusage(RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        refused += not verdict.passed
        said = "" if verdict.passed else f" REFUSED: {' '.join(str(verdict).split())[:300]} {spec!r}"
        print(f"{times[-1]:6.1f} s  {len(text) // 1000} kB  {spec.network}{said}", flush=True)
    spread = f"{min(times):.1f} to {max(times):.1f} s, median {statistics.median(times):.1f} s"
    print(f"{len(times)} certificates, {refused} refused: {spread}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
