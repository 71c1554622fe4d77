"""What experts do: measures of their coefficients and of their weights, and recordings of whole models."""

from .ablation import ablate, accuracy_by_ablation
from .ablation_model import ablate_model
from .agreement import Agreement, agreement
from .fairness import (
    accuracy,
    equality_of_opportunity,
    group_accuracy,
    max_min_fairness,
    standard_deviation_bias,
)
from .hierarchy import conditional_usage, level_information
from .information import class_means, effective_experts, load_entropy, mutual_information, token_entropy
from .losses import load_balance_loss, load_entropy_loss, token_entropy_loss, z_loss
from .mitigation import AdversarialHead, adversarial_head, blind_threshold, oversample
from .pages import Page
from .pages_text import shade_text
from .pictures import draw_class_means, draw_similarity, draw_usage
from .pictures_curves import draw_polysemanticity
from .pictures_images import draw_images
from .pictures_layer import draw_ablations, draw_hierarchy, draw_spectra
from .pictures_model import draw_model
from .polysemanticity import Polysemanticity, polysemanticity
from .recording_layer import LayerRecording
from .recording_live import Recorder
from .recording_run import record, recording
from .recordings import Recording
from .similarity import cosines, gram, norms
from .spectrum import spectrum
from .store import Chunk
from .summary import summary
from .usage import TopInputs, dead, joint, load, top_inputs, usage

__all__ = [
    "AdversarialHead",
    "Agreement",
    "Chunk",
    "LayerRecording",
    "Page",
    "Polysemanticity",
    "Recorder",
    "Recording",
    "TopInputs",
    "ablate",
    "ablate_model",
    "accuracy",
    "accuracy_by_ablation",
    "adversarial_head",
    "agreement",
    "blind_threshold",
    "class_means",
    "conditional_usage",
    "cosines",
    "dead",
    "draw_ablations",
    "draw_class_means",
    "draw_hierarchy",
    "draw_images",
    "draw_model",
    "draw_polysemanticity",
    "draw_similarity",
    "draw_spectra",
    "draw_usage",
    "effective_experts",
    "equality_of_opportunity",
    "gram",
    "group_accuracy",
    "joint",
    "level_information",
    "load",
    "load_balance_loss",
    "load_entropy",
    "load_entropy_loss",
    "max_min_fairness",
    "mutual_information",
    "norms",
    "oversample",
    "polysemanticity",
    "record",
    "recording",
    "shade_text",
    "spectrum",
    "standard_deviation_bias",
    "summary",
    "token_entropy",
    "token_entropy_loss",
    "top_inputs",
    "usage",
    "z_loss",
]
