"""Models of Hugging Face's transformers with μMoE layers: saved, and rebuilt when they are loaded.

What was put into a model stands in its configuration, as `config.tensormoe`, and `save_pretrained` writes it
into `config.json`. `register()` lets every class of transformers read it: from then on `from_pretrained`, of
a model's own class as of `AutoModel…`, puts the layers in before it loads the weights.
"""

from .logging import log_experts
from .recording import record
from .registering import register

__all__ = ["log_experts", "record", "register"]
