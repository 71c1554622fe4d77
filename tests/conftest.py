import os

import torch
from hypothesis import HealthCheck, settings

slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("default", max_examples=60, deadline=None, suppress_health_check=slow)
settings.register_profile("deep", max_examples=20_000, deadline=None, suppress_health_check=slow)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# Workers run side by side; one thread each keeps them out of each other's way.
torch.set_num_threads(1)
