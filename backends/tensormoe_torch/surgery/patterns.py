"""How the MLPs of others' models are made up: names of their parts, as data.

To support another one, add a line to `PATTERNS`. Modules are recognised by these names and by nothing else:
none of the packages that define them is imported.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Pattern:
    """The attributes of an MLP.

    Args:
        first: the linear map that x goes through.
        nonlinearity: what follows, a module or a function.
        second: the linear map that gives the output.
        up: a second linear map of x, which the nonlinearity's result is multiplied by.
        dropout: of the output; an MLP may lack it.
        inner: dropout of the hidden features; an MLP may lack it.
        outside: whether `second` is an attribute of the module's parent.
    """

    first: str
    nonlinearity: str
    second: str
    up: str | None = None
    dropout: str | None = None
    inner: str | None = None
    outside: bool = False

    @property
    def parts(self) -> Iterator[str]:
        """The attributes of the module itself."""
        second = None if self.outside else self.second
        own = (self.first, self.nonlinearity, self.up, self.inner, second, self.dropout)
        return (name for name in own if name is not None)

    def fits(self, module: nn.Module, parent: nn.Module) -> bool:
        """Whether a module has these parts, and no others that could compute something."""
        children = dict(module.named_children())
        further = [child for name, child in children.items() if name not in {*self.parts}]
        return (
            self.first in children
            and hasattr(module, self.nonlinearity)
            and (self.up is None or self.up in children)
            and get_child(parent if self.outside else module, self.second) is not None
            and all(isinstance(child, nn.Identity) for child in further)
        )


def get_child(module: nn.Module, path: str) -> nn.Module | None:
    """A descendant by its name; None if there is none."""
    child: nn.Module | None = module
    for name in path.split("."):
        child = None if child is None else child._modules.get(name)
    return child


PATTERNS = (
    # GPT-2, GPT-Neo, GPT-BigCode, ImageGPT, Decision Transformer
    Pattern("c_fc", "act", "c_proj", dropout="dropout"),
    # GPT-J, CodeGen
    Pattern("fc_in", "act", "fc_out", dropout="dropout"),
    # GPT-NeoX
    Pattern("dense_h_to_4h", "act", "dense_4h_to_h"),
    # ViT, DeiT, DINOv2, CLIP, SigLIP, Phi
    Pattern("fc1", "activation_fn", "fc2"),
    # Llama, Mistral, Qwen, Gemma, OLMo, SmolLM
    Pattern("gate_proj", "act_fn", "down_proj", up="up_proj"),
    # BERT, RoBERTa, ELECTRA: `intermediate`, whose other half is in `output`, with dropout and norm
    Pattern("dense", "intermediate_act_fn", "output.dense", outside=True),
    # nn.Sequential
    Pattern("0", "1", "2", dropout="3"),
    Pattern("0", "1", "3", dropout="4", inner="2"),
    # T5 and its relatives: plain, and gated as in v1.1
    Pattern("wi", "act", "wo", inner="dropout"),
    Pattern("wi_0", "act", "wo", up="wi_1", inner="dropout"),
    # timm: Mlp, whose norm is an identity, as it is and as it was, and SwiGLU
    Pattern("fc1", "act", "fc2", dropout="drop2", inner="drop1"),
    Pattern("fc1", "act", "fc2", inner="drop"),
    Pattern("fc1_g", "act", "fc2", up="fc1_x", dropout="drop2", inner="drop1"),
)
