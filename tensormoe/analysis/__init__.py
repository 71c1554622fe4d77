"""What experts do: measures of their coefficients and of their weights, and recordings of whole models."""

from .agreement import Agreement, agreement
from .hierarchy import conditional_usage, level_information
from .information import class_means, effective_experts, load_entropy, mutual_information, token_entropy
from .recording_layer import LayerRecording
from .recording_live import Recorder
from .recording_run import record, recording
from .recordings import Recording
from .similarity import cosines, gram, norms
from .spectrum import spectrum
from .store import Chunk
from .usage import TopInputs, dead, joint, load, top_inputs, usage

__all__ = [
    "Agreement",
    "Chunk",
    "LayerRecording",
    "Recorder",
    "Recording",
    "TopInputs",
    "agreement",
    "class_means",
    "conditional_usage",
    "cosines",
    "dead",
    "effective_experts",
    "gram",
    "joint",
    "level_information",
    "load",
    "load_entropy",
    "mutual_information",
    "norms",
    "record",
    "recording",
    "spectrum",
    "token_entropy",
    "top_inputs",
    "usage",
]
