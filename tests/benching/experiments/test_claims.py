"""The page of claims is what its program writes, from results that are all there."""

from benchmarks.experiments import page, presets, storage
from benchmarks.experiments.experiment import NAMES, find


def test_the_page_is_what_its_program_writes() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.text()


def test_every_experiment_has_a_full_preset_and_all_results_of_the_small_one() -> None:
    for name in NAMES:
        experiment = find(name)
        assert experiment.cells(presets.read(experiment, "full"))
        configuration = presets.read(experiment)
        own = storage.select(experiment, configuration, storage.FOLDER / f"{name}.jsonl")
        assert len(own.lines) == len(experiment.trials(configuration)), name


def test_every_picture_of_the_page_is_there_and_no_other() -> None:
    shown = {
        f"{picture.name}.png"
        for *_, report in page.reports(storage.FOLDER, NAMES, "small")
        for picture in (report.pictures if report else ())
    }
    assert shown == {path.name for path in page.PICTURES.glob("*")}
