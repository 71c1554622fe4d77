"""Draw docs/images/network.svg: a tensor network in Penrose's notation.

python docs/figures/network.py
"""

from pathlib import Path

import matplotlib

import tensormoe as tm

OUTPUT = Path(__file__).parents[1] / "images" / "network.svg"


def main() -> None:
    """Draw a sum of Tucker terms."""
    network = tm.TensorNetwork("g n p, g i q, g s o, g q p s", g=4, p=2, q=16, s=16)
    # Text stays text, and the same network gives the same file.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "tensormoe"}):
        tm.draw(network).savefig(OUTPUT, metadata={"Date": None})


if __name__ == "__main__":
    main()
