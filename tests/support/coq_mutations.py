"""Programs changed at random, about which our prover and Coq have to agree: a search for where they do not.

From the folder of tests, `python -m support.coq_mutations 5000` judges so many different programs, and
`--seed` others. Coq judges certificates without gradients; what the prover says of reverse mode is left out.
"""

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from support.coq_session import Session
from support.mutated_programs import layers, mutate
from support.strategies import values_for

import tensormoe as tm
from tensormoe.programs.contraction import Contraction
from tensormoe.programs.program import Program
from tensormoe.verification.coq.export import export


@dataclass(frozen=True)
class Judgement:
    """What is said of one program; "" stands for acceptance."""

    program: Program
    prover: str
    coq: str

    @property
    def agree(self) -> bool:
        return (self.prover == "") == (self.coq == "")


def draw_programs(count: int, start: int) -> list[tuple[Contraction, Program]]:
    """So many different programs: each layer's own, and some that one or two changes give."""
    drawn: dict[str, tuple[Contraction, Program]] = {}

    def add(contraction: Contraction, program: Program) -> None:
        if len(drawn) < count:
            drawn.setdefault(repr((contraction, program)), (contraction, program))

    @seed(start)
    @settings(
        max_examples=max(count // 5, 4),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(layers(), st.data())
    def draw(spec: tm.MuMoESpec, data: st.DataObject) -> None:
        operands = values_for(spec, 0, 3).map(np.rint).operands
        program = spec.default_plan.program
        add(spec.contraction, program)
        for _ in range(9):
            add(spec.contraction, mutate(data.draw, program, operands))

    draw()
    return [*drawn.values()]


def judge(count: int, start: int = 0) -> Iterator[Judgement]:
    """What our prover and Coq say of random programs."""
    with Session() as session:
        for contraction, program in draw_programs(count, start):
            yield Judgement(program, _prove(contraction, program), _certify(session, contraction, program))


def _prove(contraction: Contraction, program: Program) -> str:
    try:
        tm.prove(contraction, program)
    except tm.TensorMoEError as error:
        return str(error)
    return ""


def _certify(session: Session, contraction: Contraction, program: Program) -> str:
    """A program that the exporter refuses is one that Coq cannot accept."""
    try:
        text = export(contraction, program, gradients=False)
    except tm.TensorMoEError as error:
        return str(error)
    return session.refusal(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("count", type=int, help="how many programs")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    arguments = parser.parse_args()
    started, verdicts = perf_counter(), Counter[tuple[bool, bool]]()
    for judgement in judge(arguments.count, arguments.seed):
        verdicts[judgement.prover == "", judgement.coq == ""] += 1
        if not judgement.agree:
            print(f"They disagree about {judgement.program}")
            print(f"  prover: {judgement.prover or 'accepted'}")
            print(f"  Coq: {judgement.coq or 'accepted'}", flush=True)
        if verdicts.total() % 100 == 0 or verdicts.total() == arguments.count:
            print(_say(verdicts, perf_counter() - started), flush=True)
    return int(_differ(verdicts) > 0)


def _say(verdicts: Counter[tuple[bool, bool]], seconds: float) -> str:
    both, neither = verdicts[True, True], verdicts[False, False]
    return (
        f"{verdicts.total()} programs in {seconds:.0f} s: both accept {both}, both refuse {neither}, "
        f"they disagree about {_differ(verdicts)}"
    )


def _differ(verdicts: Counter[tuple[bool, bool]]) -> int:
    return verdicts[True, False] + verdicts[False, True]


if __name__ == "__main__":
    raise SystemExit(main())
