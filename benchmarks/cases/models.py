"""A whole model of transformers: how long a swap of its MLPs takes, and loading what came of it."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensormoe as tm
import tensormoe_torch

from ..suite import Measurement, Settings

# GPT-2 small; the vocabulary and the positions are those of its checkpoint.
SIZES: dict[str, int] = {"n_layer": 12, "n_embd": 768, "n_head": 12, "vocab_size": 50257, "n_positions": 1024}
EXPERTS = 256


def gpt2_model(settings: Settings) -> Iterator[Measurement | str]:
    """All MLPs of GPT-2 small: the swap at equal parameters; saving and loading beside the dense model."""
    if find_spec("transformers") is None:
        yield "left out: it needs transformers, pip install -c constraints.txt transformers"
        return
    import transformers

    transformers.utils.logging.disable_progress_bar()
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SIZES))

    def swap() -> Any:
        options: dict[str, Any] = {"experts": EXPERTS, "factorization": tm.CP(rank=1), "match": "parameters"}
        return tensormoe_torch.replace(model, "mlp", **options)

    yield settings.times("swap and undo", {"ours": lambda: swap().undo()})
    with TemporaryDirectory() as folder:
        ours, dense = Path(folder) / "ours", Path(folder) / "dense"
        yield settings.times("save, dense", {"dense": lambda: model.save_pretrained(dense)})
        swap()
        yield settings.times("save", {"ours": lambda: model.save_pretrained(ours)})
        load = transformers.GPT2LMHeadModel.from_pretrained
        sides = {"ours": lambda: load(ours), "dense": lambda: load(dense)}
        yield settings.times("load", sides)
