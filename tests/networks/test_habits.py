"""What people write by habit is answered with the line that they mean."""

import re
import string

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import tensormoe as tm
from tensormoe.networks.habits import name_like, suggest

MEANT = [
    ("nr,ir,or->nio", "n r, i r, o r"),
    ("nr, ir, or -> nio", "n r, i r, o r"),
    ("n r, i r, o r -> n i o", "n r, i r, o r"),
    ("nr,ir,or", "n r, i r, o r"),
    ("ab,cb,bd->acd", "n b, i b, b o"),
    ("ai,bi,ic->abc", "n r, i r, r o"),
    ("aer,ber,cr,rd->abcd", "n1 e r, n2 e r, i r, r o"),
    # With the input and the coefficients, and a batch.
    ("bn,nr,bi,ir,ro->bo", "n r, i r, r o"),
    ("...n, nr, ...i, ir, ro -> ...o", "n, n r, i, i r, r o"),
    ("n1r,n2r,ir,ro", "n1 r, n2 r, i r, r o"),
    ("n r; i r; r o", "n r, i r, r o"),
    ("n r | i r | r o", "n r, i r, r o"),
    ("n r * i r * r o", "n r, i r, r o"),
    ("n r\ni r\nr o", "n r, i r, r o"),
    ("n r, i r, r o,", "n r, i r, r o"),
    ("N r, I r, r O", "n r, i r, r o"),
    ("e r, i r, r o", "n r, i r, r o"),
    ("expert r, input r, r output", "n r, i r, r o"),
    ("n r, i r, r 0", "n r, i r, r o"),
]


@pytest.mark.parametrize(("written", "meant"), MEANT)
def test_the_line_that_is_meant_is_in_the_error(written: str, meant: str) -> None:
    with pytest.raises(tm.TensorMoEError) as caught:
        tm.TensorNetwork(written, r=3)
    assert caught.value.remedy.endswith(f"; write {meant!r}")


letters = st.sampled_from("niorst")
cores = st.lists(st.sets(letters, min_size=1).map(sorted), min_size=2, max_size=5)


@given(cores.filter(lambda drawn: {"n", "i", "o"} <= {*"".join(map("".join, drawn))}), st.data())
def test_einsum_in_any_letters_is_answered_with_the_same_sum(
    drawn: list[list[str]], data: st.DataObject
) -> None:
    """The answer's cores, contracted by their names, are what einsum makes of the text."""
    names = data.draw(st.permutations("niorstabcdef"))
    letter = dict(zip("niorst", names, strict=False))
    inputs = ["".join(letter[index] for index in core) for core in drawn]
    text = f"{','.join(inputs)}->{''.join(letter[mode] for mode in 'nio')}"
    # With the names of modes, another order is a transpose.
    assume(not {"i", "o"} <= {*text[-3:]} or text.endswith("nio"))
    answer = suggest(text)
    (line,) = re.findall(r"; write '(.*)'$", answer)
    generator = np.random.default_rng(0)
    arrays = [generator.integers(-3, 4, [2] * len(core)) * 1.0 for core in drawn]
    indices = [*dict.fromkeys(line.replace(",", "").split())]
    symbols = {index: string.ascii_letters[number] for number, index in enumerate(indices)}
    again = [["".join(symbols[index] for index in core.split())] for core in line.split(", ")]
    meant = f"{','.join(core for (core,) in again)}->{''.join(symbols[mode] for mode in 'nio')}"
    np.testing.assert_array_equal(np.einsum(meant, *arrays), np.einsum(text, *arrays))


@given(st.text("nior12 ,;->.()+:A", max_size=20))
def test_no_suggestion_is_what_was_refused_and_each_can_be_read(text: str) -> None:
    for line in re.findall(r"; write '(.*)'$", suggest(text)):
        assert line != text
        assert all(re.fullmatch(r"[A-Za-z]\w*", index) for core in line.split(", ") for index in core.split())
        assert {"i", "o"} <= {*line.replace(",", " ").split()}


def test_names_that_are_nearly_known_are_asked_for() -> None:
    with pytest.raises(tm.TensorMoEError, match=r"'rnak' has no size.*; did you mean 'rank'"):
        tm.TensorNetwork("n rank, i rnak, rank o", rank=4)
    with pytest.raises(tm.TensorMoEError, match=r"unknown bond 'rnk'.*; did you mean 'rank'"):
        tm.TensorNetwork("n rank, i rank, rank o", rnk=4)
    assert name_like("q", ["rank"]) == ""


@pytest.mark.parametrize("sound", ["n r, i r, o r", "i o + n r, i r, r o", "n r, A: i r, A: o r", "p q"])
def test_what_is_sound_or_means_nothing_gets_no_suggestion(sound: str) -> None:
    assert suggest(sound) == ""


def test_a_block_says_that_two_counts_are_two_levels() -> None:
    block = tm.MuMoEBlockSpec(8, 16, 6, (8, 16), tm.CP(4))
    assert "first layer, 128 experts on 2 levels of 8 and 16\n" in str(block.plan())
    assert "second layer, 128 experts on 2 levels of 8 and 16\n" in str(block.plan())
    assert "first layer\n" in str(block.replace(experts=8).plan())
    with pytest.raises(tm.TensorMoEError, match="each count in experts is a level, not a layer"):
        tm.MuMoEBlockSpec(8, 16, 6, (8, 16), tm.TensorTrain((4, 4)))
