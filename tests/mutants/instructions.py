"""Faults in what instructions compute, forwards and backwards."""

from mutants.harness import edit
from mutants.specs import CP, DANGLING, DENSE_LEVELS, RING, SCALED, SQUARE, TUCKER, TURNED, WEIGHED

FORWARDS = [
    edit(
        "a matrix product transposes its right side",
        "programs.instructions:Matmul.run",
        "registers[self.other])",
        "ops.transpose(registers[self.other], (1, 0)))",
        SQUARE,
        "proof",
    ),
    edit(
        "a product takes the register before",
        "programs.instructions:Multiply.run",
        "registers[self.other]",
        "registers[self.other - 1]",
        TUCKER,
        "proof",
    ),
    edit(
        "a sum is over the last axis",
        "programs.instructions:Sum.run",
        "axis=self.axis",
        "axis=len(registers[self.source].shape) - 1",
        DANGLING,
        "proof",
    ),
    edit(
        "axes are permuted backwards",
        "programs.instructions:Transpose.run",
        "self.axes)",
        "sorted(range(len(self.axes)), key=self.axes.__getitem__))",
        TURNED,
        "proof",
    ),
    edit(
        "the constant 1 comes first",
        "programs.instructions:AppendOne.run",
        "[x, ops.zeros_like(x)[..., :1] + 1]",
        "[ops.zeros_like(x)[..., :1] + 1, x]",
        RING,
        "proof",
    ),
    edit(
        "the constant is 0",
        "programs.instructions:AppendOne.run",
        "[..., :1] + 1",
        "[..., :1]",
        RING,
        "proof",
    ),
]

BIAS = [
    edit(
        "the bias row is left out", "arrays.backend:Backend.affine", " + matrix[..., -1:, :]", "", CP, "proof"
    ),
    edit(
        "the bias row is added twice",
        "arrays.backend:Backend.affine",
        "matrix[..., -1:, :]",
        "matrix[..., -1:, :] + matrix[..., -1:, :]",
        CP,
        "proof",
    ),
    edit(
        "the first row is taken for the bias",
        "arrays.backend:Backend.affine",
        "matrix[..., -1:, :]",
        "matrix[..., :1, :]",
        CP,
        "proof",
    ),
    edit(
        "the bias row is taken for an input",
        "arrays.backend:Backend.affine",
        "matrix[..., :-1, :]",
        "matrix[..., 1:, :]",
        CP,
        "proof",
    ),
    edit(
        "the bias's gradient comes first",
        "programs.instructions:Affine.vjp",
        "[ops.matmul(swap_last_axes(ops, x), gradient), row]",
        "[row, ops.matmul(swap_last_axes(ops, x), gradient)]",
        CP,
        "proof",
    ),
    edit(
        "the bias's gradient is the first token's",
        "programs.instructions:Affine.vjp",
        "ops.sum(gradient, axis=axis)",
        "gradient[..., 0, :]",
        CP,
        "proof",
    ),
    edit(
        "the bias's gradient is summed over another axis",
        "programs.instructions:Affine.vjp",
        "axis = len(gradient.shape) - 2",
        "axis = 0",
        WEIGHED,
        "proof",
    ),
    edit(
        "an input's gradient takes the bias row",
        "programs.instructions:Affine.vjp",
        "matrix[..., :-1, :]",
        "matrix[..., 1:, :]",
        CP,
        "proof",
    ),
]

BACKWARDS = [
    edit(
        "a left side is not transposed back",
        "programs.instructions:Matmul.vjp",
        "ops.matmul(swap_last_axes(ops, left), gradient)",
        "ops.matmul(left, gradient)",
        SQUARE,
        "proof",
    ),
    edit(
        "a right side is not transposed back",
        "programs.instructions:Matmul.vjp",
        "ops.matmul(gradient, swap_last_axes(ops, right))",
        "ops.matmul(gradient, right)",
        SQUARE,
        "proof",
    ),
    edit(
        "a product's shares are exchanged",
        "programs.instructions:Multiply.vjp",
        "self.sources[1 - position]",
        "self.sources[position]",
        TUCKER,
        "proof",
    ),
    edit(
        "a permutation is pulled back by itself",
        "programs.instructions:Transpose.vjp",
        "tuple(inverse)",
        "self.axes",
        TURNED,
        "proof",
    ),
    edit(
        "a sum is pulled back along another axis",
        "programs.instructions:Sum.vjp",
        "(*source.shape[: self.axis], 1, *source.shape[self.axis + 1 :])",
        "(*gradient.shape, 1)",
        DANGLING,
        "proof",
    ),
    edit(
        "a sum's gradient is not stretched",
        "programs.instructions:Sum.vjp",
        "spread + ops.zeros_like(source)",
        "spread",
        # Lowered contractions sum over axes of size 1 only.
        DANGLING,
        "programs/test_program.py::test_a_sum_gives_its_gradient_to_all_that_it_summed",
    ),
    edit(
        "the first input's gradient is dropped for the constant's",
        "programs.instructions:AppendOne.vjp",
        "[..., :-1]",
        "[..., 1:]",
        DENSE_LEVELS,
        "proof",
    ),
    edit(
        "one row's gradient stands for all that were stretched",
        "programs.instructions:_unstretch",
        "ops.sum(gradient, axis=0)",
        "gradient[0]",
        SCALED,
        "proof",
    ),
    edit(
        "a stretched operand's gradient is summed over the last axis",
        "programs.instructions:_unstretch",
        "ops.sum(gradient, axis=0)",
        "ops.sum(gradient, axis=len(gradient.shape) - 1)",
        SCALED,
        "proof",
    ),
    edit(
        "a stretched axis of size 1 is not summed",
        "programs.instructions:_unstretch",
        "size == 1 and",
        "size == 0 and",
        TUCKER,
        "proof",
    ),
]

MUTANTS = [*FORWARDS, *BIAS, *BACKWARDS]
