"""Folders of pictures as ImageNet and CelebA are published, made small; and incomplete ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import tensormoe as tm
from benchmarks.experiments.data.celeba import read_celeba
from benchmarks.experiments.data.folders import read_folder
from benchmarks.experiments.data.images import Pictures, standardize

NAMES = ("Blond_Hair", "Male", "Smiling")
VALUES = ((1, -1, 1), (-1, 1, -1), (1, 1, -1), (-1, -1, -1))


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (20, 10)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    for split, count in (("train", 3), ("val", 1)):
        for shade, name in enumerate(("n01440764", "n01443537"), start=1):
            for number in range(count):
                paint(tmp_path / split / name / f"{name}_{number}.png", (40 * shade, 10 * number, 0))
    return tmp_path


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    files = [f"{number:06d}.jpg" for number in range(1, 5)]
    for number, file in enumerate(files):
        paint(tmp_path / "Img" / "img_align_celeba" / file, (60 * number, 60 * number, 60 * number), (18, 22))
    rows = [
        f"{file} {' '.join(f'{value:2d}' for value in row)}" for file, row in zip(files, VALUES, strict=True)
    ]
    (tmp_path / "Anno").mkdir()
    (tmp_path / "Anno" / "list_attr_celeba.txt").write_text("\n".join(["4", " ".join(NAMES), *rows, ""]))
    splits = [f"{file} {split}" for file, split in zip(files, (0, 0, 1, 2), strict=True)]
    (tmp_path / "list_eval_partition.txt").write_text("\n".join(splits) + "\n")
    return tmp_path


def test_a_folder_is_a_class_and_files_are_read_at_the_size_asked_for(imagenet: Path) -> None:
    folder = read_folder(imagenet, "train", size=6)
    assert folder.classes == ("n01440764", "n01443537")
    assert folder.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert folder.pictures[5].shape == (6, 6, 3)
    assert (folder.pictures[5] == (80, 20, 0)).all()
    assert read_folder(imagenet, "val", classes=folder.classes).labels.tolist() == [0, 1]


def test_the_middle_square_of_a_wide_picture_is_what_is_seen(tmp_path: Path) -> None:
    pixels = np.zeros((4, 12, 3), dtype="uint8")
    pixels[:, 4:8] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert (Pictures((tmp_path / "wide.png",), 4)[0] == 200).all()


def test_crops_are_the_same_for_a_seed_and_others_for_the_next(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype("uint8")
    Image.fromarray(noise).save(tmp_path / "noise.png")
    pictures = Pictures((tmp_path / "noise.png",), 8)
    first, again, second = (pictures.cropped(seed)[0] for seed in (0, 0, 1))
    assert (first == again).all()
    assert not (first == second).all()


def test_pictures_are_standardized_colour_by_colour() -> None:
    pixels = np.full((2, 5, 4, 3), (0, 51, 255), dtype="uint8")
    values = standardize(pixels, (0.0, 0.2, 0.5), (1.0, 1.0, 0.25))
    assert values.shape == (2, 3, 5, 4)
    assert np.allclose(values[1, :, 0, 0], (0, 0, 2), atol=1e-6)


def test_a_folder_that_is_not_as_expected_says_what_was_expected_where(imagenet: Path) -> None:
    with pytest.raises(
        tm.TensorMoEError, match=r"there is no folder .*/test: pictures lie in root/train/<class>"
    ):
        read_folder(imagenet, "test")
    with pytest.raises(tm.TensorMoEError, match=r"classes: received 2; .*train must have 1000 folders"):
        read_folder(imagenet, "train", classes=1000)
    with pytest.raises(tm.TensorMoEError, match=r"lacks n3 and has besides n01443537"):
        read_folder(imagenet, "train", classes=("n01440764", "n3"))
    (imagenet / "train" / "n02").mkdir()
    with pytest.raises(
        tm.TensorMoEError, match=r"1 of 3 classes have no picture .* the first is .*/train/n02"
    ):
        read_folder(imagenet, "train")
    paint(imagenet / "flat" / "val" / "ILSVRC2012_val_00000001.JPEG", (0, 0, 0))
    with pytest.raises(tm.TensorMoEError, match=r"no folder of a class, but 1 pictures beside each other"):
        read_folder(imagenet / "flat", "val")


def test_a_picture_that_is_cut_off_is_named(imagenet: Path) -> None:
    folder = read_folder(imagenet, "train")
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3)).astype("uint8")
    Image.fromarray(noise).save(folder.pictures.paths[0])
    folder.pictures.paths[0].write_bytes(folder.pictures.paths[0].read_bytes()[:2000])
    with pytest.raises(tm.TensorMoEError, match=r"n01440764_0.png.*can't be read as a picture"):
        folder.pictures[0]


def test_faces_of_a_split_have_their_attributes(celeba: Path) -> None:
    train, valid = read_celeba(celeba, "train", size=5), read_celeba(celeba, "valid", size=5)
    assert [path.name for path in train.pictures.paths] == ["000001.jpg", "000002.jpg"]
    assert train.names == NAMES
    assert train.attribute("Blond_Hair").tolist() == [1, 0]
    assert valid.attribute("Male").tolist() == [1]
    assert abs(int(valid.pictures[0].mean()) - 120) < 3
    with pytest.raises(tm.TensorMoEError, match=r"the attributes are Blond_Hair, Male, Smiling"):
        train.attribute("Blonde")


def test_incomplete_celeba_says_what_is_missing_or_which_line_is_wrong(celeba: Path) -> None:
    with pytest.raises(tm.TensorMoEError, match="CelebA has train, valid, test"):
        read_celeba(celeba, "val")
    with pytest.raises(tm.TensorMoEError, match=r"neither .*/img_align_celeba nor .*/Img/img_align_celeba"):
        read_celeba(celeba / "Anno", "train")
    (celeba / "Img" / "img_align_celeba" / "000002.jpg").unlink()
    with pytest.raises(tm.TensorMoEError, match=r"lacks 1 of 2 pictures, the first is 000002.jpg"):
        read_celeba(celeba, "train")
    (celeba / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 3\n")
    with pytest.raises(tm.TensorMoEError, match=r"line 2 must be a file's name and 0, 1 or 2"):
        read_celeba(celeba, "valid")
    (celeba / "list_eval_partition.txt").write_text("000001.jpg 0\n")
    with pytest.raises(tm.TensorMoEError, match=r"line 2 must be the split of 000002.jpg"):
        read_celeba(celeba, "valid")
    attributes = celeba / "Anno" / "list_attr_celeba.txt"
    text = attributes.read_text()
    attributes.write_text(text.replace("4\n", "5\n", 1))
    with pytest.raises(tm.TensorMoEError, match=r"line 1 must be the number of pictures .* which are 4"):
        read_celeba(celeba, "valid")
    attributes.write_text(text.replace("000003.jpg  1", "000003.jpg  0"))
    with pytest.raises(tm.TensorMoEError, match=r"line 5 must be a file's name and 3 times 1 or -1"):
        read_celeba(celeba, "valid")
