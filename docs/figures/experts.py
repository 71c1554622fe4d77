"""Draw docs/images/experts-*.png: what the experts of a head that is trained on handwritten digits do.

python docs/figures/experts.py
"""

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

import tensormoe as tm
from tensormoe_torch import MuMoE

IMAGES = Path(__file__).parents[1] / "images"
EXPERTS, STEPS = 32, 400


def train(x: torch.Tensor, labels: torch.Tensor) -> MuMoE:
    """A head 64 → 10 after some steps on all images."""
    torch.manual_seed(0)
    head = MuMoE(64, 10, EXPERTS, tm.CP(rank=32), gate=tm.Gate("entmax15", norm="batch"))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)
    for _ in range(STEPS):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(head(x), labels).backward()
        optimizer.step()
    return head.eval()


def main() -> None:
    """Draw the pictures."""
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    head = train(x, torch.tensor(digits.target))
    with torch.no_grad():
        _, coefficients = head(x, return_coefficients=True)
    means = tm.analysis.class_means(coefficients, digits.target)
    tm.analysis.draw_class_means(means).savefig(IMAGES / "experts-classes.png")
    best = np.argsort(-tm.analysis.load(coefficients))[:5]
    tm.analysis.draw_images(digits.images, coefficients, experts=sorted(best.tolist()), k=10).savefig(
        IMAGES / "experts-digits.png"
    )


if __name__ == "__main__":
    main()
