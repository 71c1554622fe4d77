"""Certificates of blocks: layers with a nonlinearity before the last, as one program.

The nonlinearity f is any function of each element, and f' any other, which stands for its derivative. The
hidden values h are f of the first layer's result u; in a gated block f(u) v, with v, the result of up.
Reverse mode gives h its gradient, and u that gradient times f'(u). In the theorems on the first layer's
gradients this is the cotangent du, by definition; nothing is said about what f' is.
"""

from collections.abc import Sequence
from dataclasses import replace

from ...arrays.protocols import Nonlinearity
from ...networks.splits import Split
from ...programs.contraction import Contraction, Operand, identify_core
from ...programs.program import Program
from ..proof.block import Block, program_data
from .arrays import Noted, state_operand
from .export import THEOREM, close_file, open_program, run_program, state_operands, state_result
from .forms import Factor, Form, Place, Term, UnsayableError, match_axes, variables, write_place
from .gradients import state_each, state_gradient
from .heading import write_heading
from .names import Names
from .ops import CertificateOps
from .script import Script, bind, give_form, hypothesis, rename_given, write_groups, write_list, write_places
from .statement import Letters, Statement

_BEFORE = (Letters("u", "W_u", "V_u", "du"), Letters("v", "W_v", "V_v", "dv"))
_RESERVED = (
    *("u", "v", "vh", "dh", "fu", "f", "du", "dv", "W_u", "W_v", "V_u", "V_v", "u_is", "v_is"),
    *(f"{name}_at" for name in ("h", "vh", "fu", "du", "dv")),
)


def export_chain(layers: Sequence[Contraction], nonlinearity: Nonlinearity, program: Program) -> str:
    """The theorem that a block's program computes its layers, with its proof, as a file for Coq.

    Args:
        layers: the contractions of the first layer, of up in a gated block, and of the last layer.
        nonlinearity: the function of each element before the last layer.
        program: of x, the coefficients, and the cores of each layer.

    Raises:
        TensorMoEError: something that a certificate cannot speak about yet.
    """
    for layer in layers:
        if layer.active:
            raise UnsayableError("a block", "some of its layers read some experts alone")
    block = Block.of(layers, nonlinearity)
    *before, last = _share(block, layers)
    last = replace(last, operands=(replace(last.operands[0], name="h"), *last.operands[1:]))
    hidden = last.operands[0].indices[-1]
    equal = [(layer.output[-1], hidden) for layer in before]
    further = _split_alike([*before, last])
    products = {}
    splits = [*further, *(split for layer in before for split in layer.splits)]
    if last.affine and any(split.mode == before[0].output[-1] for split in splits):
        # What a 1 follows is numbered as a whole.
        if any(before[0].output[-1] in layer.padded for layer in before):
            raise UnsayableError("h", "it is in padded parts, and followed by a 1")
        products = {hidden: before[0].output[-1]}
        equal = [(before[0].output[-1], layer.output[-1]) for layer in before[1:]]
    names = Names([*before, last], equal, _RESERVED, further, products)
    firsts = [Statement(layer, names, letters) for layer, letters in zip(before, _BEFORE, strict=False)]
    statements = [*firsts, Statement(last, names)]
    data = [names.arrays[operand.name] for operand in program_data(before)]
    cores = [use.array for each in statements for use in each.uses if use.array not in (*data, "h")]
    arrays = [*dict.fromkeys([*data, *cores])]
    script = Script(names)
    open_program(script, statements, arrays, "Variables f f' : R -> R.")
    operands = state_operands(script, statements, arrays)
    cotangent = state_operand(script, "dy", names.places(last.output), len(operands))
    whole = statements[-1].places("h") if products else ()
    ops = _ChainOps(script, firsts, nonlinearity, len(operands), whole)
    registers = run_program(script, program, ops, operands)
    state_result(script, statements[-1], registers[-1])
    theorems = [THEOREM]
    script.reverse = True
    script.emit("(* THE REVERSE MODE. *)")
    gradients = program.backward(ops, [*registers], cotangent, range(len(operands)))
    if ops.hidden is not None and ops.gradient is not None:
        state_gradient(script, statements[-1:], "h", ops.hidden, ops.gradient)
        theorems.append("gradient_of_h")
    theorems += state_each(script, statements, arrays, operands, gradients)
    return close_file(script, theorems, write_heading(script, statements, True))


class _ChainOps(CertificateOps):
    """Operations with one nonlinearity, of a block's hidden values alone."""

    def __init__(
        self,
        script: Script,
        before: Sequence[Statement],
        nonlinearity: Nonlinearity,
        rank: int,
        whole: Sequence[Place] = (),
    ) -> None:
        self._whole = whole
        self._script, self._before, self._nonlinearity, self._rank = script, before, nonlinearity, rank
        self._places = script.names.places(before[0].contraction.output)
        self.hidden: Noted | None = None
        self.gradient: Noted | None = None

    def nonlinear(self, function: Nonlinearity, x: Noted, /) -> Noted:
        return self._join(function, x)

    def nonlinear_overwrite(self, function: Nonlinearity, x: Noted, /) -> Noted:
        return self.nonlinear(function, x)

    def nonlinear_product(self, function: Nonlinearity, x: Noted, factor: Noted, /) -> Noted:
        return self._join(function, x, factor)

    def nonlinear_product_overwrite(self, function: Nonlinearity, x: Noted, factor: Noted, /) -> Noted:
        return self._join(function, x, factor)

    def nonlinear_vjp(self, function: Nonlinearity, x: Noted, gradient: Noted, /) -> Noted:
        return self._bend_back(x, self._keep_gradient(gradient))

    def nonlinear_product_vjp(
        self, function: Nonlinearity, x: Noted, factor: Noted, gradient: Noted, position: int, /
    ) -> Noted:
        opaque = self._keep_gradient(gradient)
        if position == 0:
            self._define("vh", self._call(1))
            return self._bend_back(x, opaque * self._name("vh", factor, self._to("vh", self._at(1))))
        self._define("fu", f"f ({self._call(0)})")
        product = opaque * self._apply("fu", x)
        self._define("dv", self._script.close(product.form))
        return self._name("dv", product, self._to("dv", product.at({})))

    def _keep_gradient(self, gradient: Noted) -> Noted:
        """The gradient of h, whose entries stand for themselves in what follows."""
        if self.gradient is None:
            self.gradient = gradient
            match_axes("the gradient of h", gradient.form.axes, self._whole or self._places)
            self._opaque = self._name(gradient.name, gradient, "eq_refl", "dh")
        if self.gradient is not gradient:
            raise UnsayableError("a nonlinearity", "its gradient is carried back twice")
        return self._opaque

    def _join(self, function: Nonlinearity, *results: Noted) -> Noted:
        """The hidden values, from the results of the layers before the last."""
        if function != self._nonlinearity or len(results) != len(self._before) or self.hidden is not None:
            raise UnsayableError("a nonlinearity", "it is not that of the block's hidden values")
        for statement, result in zip(self._before, results, strict=True):
            self._state_result(statement, result)
        u = f"f ({self._call(0)})"
        self._define("h", u if len(results) == 1 else f"{u} ⊗ {self._call(1)}")
        if len(results) == 1:
            self.hidden = self._number_whole(self._apply("h", results[0]))
            return self.hidden
        function_of, equal = "fun a b => f a ⊗ b", f"{self._at(0)} {self._at(1)}"
        body = f"pointwise_product f {results[0].name} {results[1].name}"
        self.hidden = self._number_whole(self._zip(body, function_of, equal, "h", results))
        return self.hidden

    def _number_whole(self, hidden: Noted) -> Noted:
        """The hidden values, each by one number in place of parts, where a 1 follows them."""
        if not self._whole:
            return hidden
        form = Form(tuple(self._whole), (Term((Factor(-1, "h", tuple(self._whole)),)),))
        index = self._whole[-1][0]
        parts = write_groups([self._places[-1]])[1:-1]
        self._script.emit("Definition h' := " + hidden.name + ".")
        proof = f"unfold h'. by_parts {parts} {hypothesis(index)}. apply {hidden.name}_is; assumption."
        self._script.state("h'", form, f"exact {hidden.name}_shape.", proof)
        return Noted(self._script, "h'", form)

    def _bend_back(self, x: Noted, gradient: Noted) -> Noted:
        """The gradient of the first layer's result: that of f(u), times f'(u)."""
        closed = self._script.close(gradient.form)
        self._define("du", f"({closed}) ⊗ f' ({self._call(0)})")
        equal = f"{self._at(0)} {gradient.at({})}"
        body = f"pointwise_vjp f' {x.name} {gradient.name}"
        return self._zip(body, "fun a g => g ⊗ f' a", equal, "du", [x, gradient])

    def _apply(self, name: str, x: Noted) -> Noted:
        """The nonlinearity of the first layer's result, which gives what a name stands for."""
        entries = write_places(self._places)
        equal = self._to(name, f"(f_equal f {self._at(0)})")
        proof = f"change (f ({x.name} {entries}) = {name} {entries}). exact {equal}."
        return x.define(f"pointwise f {x.name}", self._form(name), proof, [x])

    def _zip(self, body: str, function: str, equal: str, name: str, sources: Sequence[Noted]) -> Noted:
        """An elementwise operation that gives what a name stands for."""
        shapes = " ".join(f"{source.name}_shape" for source in sources)
        proof = (
            f"unfold {body.split()[0]}. eapply eq_trans; "
            f"[exact (elementwise_entry _ _ _ _ _ {write_places(self._places)} {shapes}) |]. stretch. "
            f"exact {self._to(name, f'(f_equal2 ({function}) {equal})')}."
        )
        return sources[0].define(body, self._form(name), proof, sources)

    def _state_result(self, statement: Statement, result: Noted) -> None:
        """The lemma that a register is u or v."""
        output, letter = statement.output, statement.letters.result
        places = self._script.names.places(statement.contraction.output)
        known = rename_given(match_axes(f"the result {letter}", result.form.axes, places))
        limits = [index for place in places for index in place if index.digits]
        bounds = " ".join(map(bind, (*output, *limits)))
        variables = " ".join(index.name for index in output)
        given = [use.array for use in statement.uses]
        self._script.emit(
            f"Lemma {letter}_is {variables} {bounds} :",
            f"  {result.name} {write_places(places)} = {statement.call(given)}.",
            f"Proof. eapply eq_trans; [exact {result.at(known)} |]. "
            f"{self._script.unfold(statement.defined, result.form)} by_laws. Qed.",
            "",
        )

    def _define(self, name: str, value: str) -> None:
        """Give a name to values at the indices of the hidden values."""
        *others, last = self._places
        heads, text, proof = [place[0].name if place else "_" for place in others], value, ""
        digits = variables(last)
        if len(digits) > 1:
            # The parts of one place.
            sizes, parts = write_groups([digits])[1:-1], write_list(index.name for index in digits)
            text = f"match unflat {sizes} i0 with {parts} => {value} | _ => zero end"
            bounds = "(Forall2_nil lt)"
            for index in reversed(digits):
                bounds = f"(Forall2_cons _ _ {hypothesis(index)} {bounds})"
            fact = f"unflat {sizes} ({write_place(last)}) = {parts}"
            proof = f"assert (E : {fact}) by exact (unflat_flat {sizes} {parts} {bounds}). "
            proof += f"cbv beta iota delta [{name}]. rewrite E. "
        held = "i0" if len(digits) > 1 else last[0].name if last else "_"
        pattern = write_list([*heads, held])
        form = self._form(name)
        bounded = " ".join(map(bind, (*form.indices, *form.limits)))
        self._script.emit(
            f"Definition {name} (i0 : list nat) : R :=\n  match i0 with {pattern} => {text} | _ => zero end.",
            f"Lemma {name}_at {' '.join(index.name for index in form.indices)} {bounded} :",
            f"  {name} {write_places(self._places)} = {value}.",
            f"Proof. {proof}reflexivity. Qed.",
        )

    def _to(self, name: str, proof: str) -> str:
        """The proof that something is what a name stands for, from a proof that it is that value."""
        given = " ".join([f"{name}_at", *give_form(self._form(name), {})])
        return f"(eq_trans {proof} (eq_sym ({given})))"

    def _name(self, name: str, array: Noted, proof: str, own: str = "") -> Noted:
        """An array whose entries are called by a name."""
        named = Noted(self._script, f"{own or name}'", self._form(name))
        self._script.emit(f"Definition {named.name} := {array.name}.")
        self._script.state(named.name, named.form, f"exact {array.name}_shape.", f"exact {proof}.")
        return named

    def _form(self, name: str) -> Form:
        rank = -1 if name == "h" else self._rank
        return Form(self._places, (Term((Factor(rank, name, self._places),)),))

    def _call(self, number: int) -> str:
        """The result of a layer before the last, at the indices of the hidden values."""
        statement = self._before[number]
        variables = [index.name for index in self._form("h").indices]
        return " ".join([statement.letters.result, *(use.array for use in statement.uses), *variables])

    def _at(self, number: int) -> str:
        """The lemma on such a result."""
        given = give_form(self._form("h"), {})
        return f"({' '.join([f'{self._before[number].letters.result}_is', *given])})"


def _split_alike(layers: Sequence[Contraction]) -> list[Split]:
    """The parts of the indices that one array is read with, or a layer's result, for those without them."""
    modes: dict[str, dict[str, int]] = {}
    for layer in layers:
        for operand in layer.data:
            mode = operand.indices[-1]
            modes.setdefault(operand.name, {})[mode] = dict(layer.sizes)[mode]
    for layer in layers[:-1]:
        modes["h"][layer.output[-1]] = dict(layer.sizes)[layer.output[-1]]
    further = []
    for name, alike in modes.items():
        splits = [split for layer in layers for split in layer.splits if split.mode in alike]
        if splits and len({*alike.values()}) > 1:
            last = layers[-1].operands[0].indices[-1]
            if name != "h" or any(split.mode == last for split in splits):
                raise UnsayableError(name, "it is in parts, and followed by a 1")
            # What a 1 follows is numbered as a whole.
            alike.pop(last)
        for mode in alike:
            held = {split.sizes for split in splits if split.mode == mode}
            for sizes in dict.fromkeys(split.sizes for split in splits if split.sizes not in held):
                stem = f"{mode}_{'x'.join(map(str, sizes))}"
                further.append(Split(mode, tuple(f"{stem}_{k}" for k in range(1, len(sizes) + 1)), sizes))
    return further


def _share(block: Block, layers: Sequence[Contraction]) -> list[Contraction]:
    """The block's layers with one name for each array, which the program takes once."""
    first: dict[tuple[int, str], str] = {}
    shared = []
    for number, (given, stated) in enumerate(zip(layers, block.stated, strict=True)):
        operands = [*stated.data]
        for core, named in zip(given.cores, stated.cores, strict=True):
            key = identify_core(given, number, core.name)
            operands.append(Operand(first.setdefault(key, named.name), named.indices))
        shared.append(replace(stated, operands=tuple(operands)))
    return shared
