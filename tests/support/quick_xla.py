"""How XLA compiles for the tests: quickly. Nearly all time of a small program goes into its compilation.

The older emitters, and LLVM without its optimizations, take half the time for the same operations.
The profile `deep` compiles as users do.
"""

import os

FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"


def choose() -> None:
    """Compile quickly here and in processes started from here, unless the user has flags of their own."""
    if os.environ.get("HYPOTHESIS_PROFILE") != "deep":
        os.environ.setdefault("XLA_FLAGS", FLAGS)


def with_devices(count: int) -> dict[str, str]:
    """The environment of a process that has several devices, and that compiles as this one does."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}"
    return {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
