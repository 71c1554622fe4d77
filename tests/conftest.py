import os

import torch
from hypothesis import settings

from tensormoe.testing import register_profiles

register_profiles()
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Workers run side by side; one thread each keeps them out of each other's way.
torch.set_num_threads(1)
