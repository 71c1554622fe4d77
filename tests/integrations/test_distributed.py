"""Layers in torch.distributed, with real processes; the scripts named here have what these do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")


def run(scenario: str, processes: int, folder: Path, script: str = "scenarios.py") -> None:
    """Run a scenario in so many processes; what one of them prints is in the failure's text."""
    path = Path(__file__).with_name(script)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OMP_NUM_THREADS": "1",
    }
    started = [
        subprocess.Popen(
            [sys.executable, str(path), scenario, str(rank), str(processes), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(processes)
    ]
    try:
        printed = [process.communicate(timeout=120)[0] for process in started]
    finally:
        for process in started:
            process.kill()
    for process, text in zip(started, printed, strict=True):
        assert process.returncode == 0, text[-3000:]


@pytest.mark.parametrize("processes", [1, 2])
def test_fsdp2_trains_as_one_process_does(processes: int, tmp_path: Path) -> None:
    run("fsdp2", processes, tmp_path)


def test_layers_built_on_meta_and_sharded_are_reset_to_initial_values(tmp_path: Path) -> None:
    run("meta", 2, tmp_path)


def test_distributed_checkpoints_are_resharded(tmp_path: Path) -> None:
    run("checkpoints", 2, tmp_path)


def test_sharded_layers_are_gathered_and_saved_by_one_process(tmp_path: Path) -> None:
    run("files", 2, tmp_path)


def test_distributed_checkpoints_in_hugging_faces_format(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    run("hugging_face_writer", 1, tmp_path)


def test_collectives_take_parameters(tmp_path: Path) -> None:
    run("collectives", 2, tmp_path)


def test_data_parallel_training_equals_that_of_one_process_without_warnings(tmp_path: Path) -> None:
    run("data_parallel", 2, tmp_path)


@pytest.mark.parametrize(
    "scenario",
    ["routed_and_checkpointed", "synchronized", "groups", "evaluation", "warnings_of_shares"],
)
def test_statistics_are_those_of_the_processes_that_share_a_batch(scenario: str, tmp_path: Path) -> None:
    run(scenario, 3 if scenario == "groups" else 2, tmp_path, "shared_statistics.py")


@pytest.mark.parametrize("scenario", ["shares", "resharding", "with_fsdp"])
def test_rank_and_experts_are_shared_out_over_processes(scenario: str, tmp_path: Path) -> None:
    run(scenario, 4 if scenario == "with_fsdp" else 2, tmp_path, "tensor_parallel.py")
