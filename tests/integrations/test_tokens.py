"""Tokenizers that are trained on texts, and contexts of their tokens."""

from pathlib import Path

import numpy as np
import pytest

import tensormoe as tm
from benchmarks.experiments.data import tokens

SENTENCES = [
    f"The {animal} of {place} sleeps." for animal in ("cat", "dog", "ox") for place in ("Rome", "Bonn")
]


def test_a_tokenizer_gives_back_what_it_was_given_and_is_the_same_again(tmp_path: Path) -> None:
    first, again = (tokens.train_tokenizer(SENTENCES, 270) for _ in range(2))
    assert first.to_str() == again.to_str()
    text = "The yak of Köln sleeps. 🐃"
    assert first.decode(first.encode(text).ids) == text
    assert len(first.encode("The cat of Rome").ids) < len("The cat of Rome")
    (tmp_path / "tokenizer.json").write_text(first.to_str(), encoding="utf-8")
    assert tokens.read_tokenizer(tmp_path).encode(text).ids == first.encode(text).ids


def test_a_tokenizer_that_cannot_be_says_why(tmp_path: Path) -> None:
    with pytest.raises(tm.TensorMoEError, match="pass 257 to 65,536"):
        tokens.train_tokenizer(SENTENCES, 256)
    with pytest.raises(tm.TensorMoEError, match=r"the documents suffice for 2\d\d"):
        tokens.train_tokenizer(SENTENCES, 1000)
    with pytest.raises(tm.TensorMoEError, match=r"expected a tokenizer.json here"):
        tokens.read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text(
        tokens.train_tokenizer(SENTENCES, 257).to_str().replace("endoftext", "e")
    )
    with pytest.raises(tm.TensorMoEError, match=r"it lacks <\|endoftext\|>"):
        tokens.read_tokenizer(tmp_path)


def test_contexts_are_the_documents_one_after_the_other(tmp_path: Path) -> None:
    tokenizer = tokens.train_tokenizer(SENTENCES, 257)
    count = tokens.write_tokens(tokenizer, SENTENCES, tmp_path / "all.tokens")
    assert [path.name for path in tmp_path.iterdir()] == ["all.tokens"]
    assert count == sum(1 + len(sentence) for sentence in SENTENCES)
    contexts = tokens.read_tokens(tmp_path / "all.tokens", 20)
    pieces = np.concatenate(list(contexts.in_order(3)))
    assert pieces.shape == (len(contexts), 21) == ((count - 1) // 20, 21)
    assert (pieces[:-1, -1] == pieces[1:, 0]).all()
    end = tokenizer.token_to_id(tokens.END)
    text = "|".join(SENTENCES)
    assert (
        "".join("|" if token == end else tokenizer.decode([token]) for token in pieces[0]) == f"|{text}"[:21]
    )
    drawn = contexts.draw(50, np.random.default_rng(0))
    flat = np.fromfile(tmp_path / "all.tokens", "<u2")
    assert all((np.lib.stride_tricks.sliding_window_view(flat, 21) == row).all(1).any() for row in drawn)


def test_a_file_of_tokens_that_is_missing_cut_off_or_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tm.TensorMoEError, match="expected a file of tokens here"):
        tokens.read_tokens(tmp_path / "all.tokens", 8)
    (tmp_path / "all.tokens").write_bytes(b"123")
    with pytest.raises(tm.TensorMoEError, match="expected a file of tokens here"):
        tokens.read_tokens(tmp_path / "all.tokens", 8)
    np.arange(8, dtype="<u2").tofile(tmp_path / "all.tokens")
    with pytest.raises(tm.TensorMoEError, match="a context of 8 and the token after it"):
        tokens.read_tokens(tmp_path / "all.tokens", 8)
