"""The theorem on programs that read some experts alone: which experts these must be."""

from collections.abc import Sequence

from ...networks.notation import BATCH
from .forms import Index
from .names import Choice
from .script import Script, below, hypothesis, write_places
from .statement import Statement

CHOSEN = "program_is_mixture_of_chosen"


def state_choice(script: Script, statement: Statement, result: str, theorem: str) -> None:
    """The theorem that the result is y where the coefficients of experts that are not chosen are 0."""
    output, (token,) = statement.output, script.names.places([BATCH])[0]
    premises = [f"{index.name} < {index.size}" for index in output]
    for choice in statement.choices:
        at, whole = f"{choice.name} [{token.name}; j]", choice.whole
        differ = f"forall j l, j < {choice.size} -> l < {choice.size} -> "
        premises.append(f"({differ}{at} = {choice.name} [{token.name}; l] -> j = l)")
        none = f"(forall j, j < {choice.size} -> {at} <> {whole.name})"
        entry = f"{choice.array} [{token.name}; {whole.name}]"
        premises.append(f"(forall {whole.name}, {whole.name} < {whole.size} -> {none} -> {entry} = zero)")
    names = " ".join(index.name for index in output)
    hypotheses = [hypothesis(index) for index in output]
    more = [f"{word}_{choice.name}" for choice in statement.choices for word in ("differ", "rest")]
    proof = "reflexivity"
    for number, part in enumerate(reversed(statement.parts)):
        own = _prove_sums(statement.choices, part.summed, token)
        proof = f"apply (f_equal2 add); [{own} | {proof}]" if number else own
    call = statement.call([use.array for use in statement.uses])
    script.emit(
        "(* Where places differ and all other coefficients are 0, this is the mixture of all experts. *)",
        f"Theorem {theorem} {names} :",
        *(f"  {premise} ->" for premise in premises),
        f"  {result} {write_places(script.names.output(statement.contraction))} = "
        f"{call.replace(statement.result, statement.letters.result, 1)}.",
        "Proof.",
        f"  intros {' '.join([*hypotheses, *more])}. rewrite {CHOSEN} by assumption.",
        f"  unfold {statement.result}, {statement.letters.result}. symmetry.",
        f"  {proof}.",
        "Qed.",
        "",
    )


def _prove_sums(choices: Sequence[Choice], summed: Sequence[Index], token: Index) -> str:
    """The proof that sums over all experts are those over the chosen ones."""
    known = {choice.whole: choice for choice in choices}
    if not any(index in known for index in summed):
        return "reflexivity"
    first, *rest = summed
    inner = _prove_sums(choices, rest, token)
    below_first = f"{below([first])}cbv beta; {inner}"
    if first not in known:
        return below_first
    name, size = known[first].name, known[first].size
    index, bound = first.name, hypothesis(first)
    vanish = f"intros {index} {bound} E; cbv beta; vanishes (rest_{name} {index} {bound} E)"
    proof = f"apply (sum_chosen {first.size} {size} (fun j => {name} [{token.name}; j])); "
    proof += f"[intros; apply {name}_in; assumption | exact differ_{name} | {vanish}]"
    if not known[first].place:
        proof = f"eapply eq_trans; [{proof} | apply sum_one]"
    return proof if inner == "reflexivity" else f"eapply eq_trans; [{below_first} | {proof}]"
