"""Readers of the official files, whole and damaged, and batches that do not depend on who takes part."""

from __future__ import annotations

import gzip
import itertools
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from ternzip import TernzipError
from ternzip.training.batches import Crop, ImageBatches, augment, normalize
from ternzip.training.datasets import open_dataset
from ternzip.training.images import Split


def write_cifar10(folder: Path, records: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    for name in (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"):
        data = random.integers(0, 256, (records, 3073), dtype=np.uint8)
        data[:, 0] %= 10
        (folder / name).write_bytes(data.tobytes())


def write_idx(path: Path, array: np.ndarray, packed: bool = False) -> None:
    header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    data = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data) if packed else data)


def write_mnist(folder: Path, packed: bool = False) -> None:
    suffix = ".gz" if packed else ""
    for prefix, count in (("train", 6), ("t10k", 3)):
        images = np.arange(count * 784).reshape(count, 28, 28)
        write_idx(folder / f"{prefix}-images-idx3-ubyte{suffix}", images, packed)
        write_idx(folder / f"{prefix}-labels-idx1-ubyte{suffix}", np.arange(count) % 10, packed)


@pytest.mark.parametrize("inner", ["", "cifar-10-batches-bin"])
def test_cifar10_planes_and_labels(tmp_path: Path, inner: str) -> None:
    write_cifar10(tmp_path / inner)
    dataset = open_dataset("cifar10", tmp_path)
    assert dataset.train.images.shape == (20, 3, 32, 32)
    assert dataset.info.image_shape == (3, 32, 32)
    record = np.frombuffer((tmp_path / inner / "data_batch_2.bin").read_bytes(), np.uint8)[3073:6146]
    assert dataset.train.labels[5] == record[0]
    assert dataset.train.images[5, 1, 2, 3] == record[1 + 1024 + 2 * 32 + 3]
    assert len(dataset.test) == 4
    assert len(dataset.test.sample(2)) == 2


def test_a_sample_holds_all_classes_of_images_that_are_sorted() -> None:
    split = Split(torch.arange(40, dtype=torch.uint8).view(40, 1, 1, 1), torch.arange(40) // 4)
    assert split.sample(None) is split.sample(40) is split
    few = split.sample(20)
    assert few.labels.tolist() == [label for label in range(10) for _ in range(2)]
    assert torch.equal(few.images.flatten() // 4, few.labels)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("place", ["", "mnist", "raw", "MNIST/raw"])
def test_mnist(tmp_path: Path, packed: bool, place: str) -> None:
    write_mnist(tmp_path / place, packed)
    dataset = open_dataset("mnist", tmp_path)
    assert dataset.train.images.shape == (6, 1, 28, 28)
    assert dataset.train.images[1, 0, 0, 5] == (784 + 5) % 256
    assert dataset.test.labels.tolist() == [0, 1, 2]


def test_damaged_cifar10(tmp_path: Path) -> None:
    write_cifar10(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        TernzipError, match=r"data_batch_3.bin: damaged: expected a multiple of 3073 bytes, found 12291"
    ):
        open_dataset("cifar10", tmp_path)
    path.write_bytes(b"")
    with pytest.raises(TernzipError, match="damaged"):
        open_dataset("cifar10", tmp_path)
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(TernzipError, match="expected labels 0 to 9, found 10"):
        open_dataset("cifar10", tmp_path)
    path.unlink()
    with pytest.raises(TernzipError, match=r"data_batch_3.bin: no such data file"):
        open_dataset("cifar10", tmp_path)


def test_damaged_idx(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    images, labels = tmp_path / "train-images-idx3-ubyte", tmp_path / "t10k-labels-idx1-ubyte"
    whole = images.read_bytes()
    images.write_bytes(whole[:-3])
    with pytest.raises(TernzipError, match=r"expected 16 \+ 6\*28\*28 bytes, found 4717"):
        open_dataset("mnist", tmp_path)
    images.write_bytes(whole[:3] + b"\x01" + whole[4:])
    with pytest.raises(TernzipError, match="expected an IDX file of 3-d bytes, found magic 00000801"):
        open_dataset("mnist", tmp_path)
    images.write_bytes(b"")
    with pytest.raises(TernzipError, match="expected an IDX file"):
        open_dataset("mnist", tmp_path)
    images.write_bytes(whole)
    write_idx(labels, np.arange(4))
    with pytest.raises(TernzipError, match=r"expected 3 labels as .* has, found 4"):
        open_dataset("mnist", tmp_path)
    write_idx(images, np.zeros((6, 14, 14)))
    with pytest.raises(TernzipError, match=r"expected images of 28x28 pixels, found \(6, 14, 14\)"):
        open_dataset("mnist", tmp_path)
    write_idx(images, np.zeros((0, 28, 28)))
    with pytest.raises(TernzipError, match=r"expected images of 28x28 pixels, found \(0, 28, 28\)"):
        open_dataset("mnist", tmp_path)


def test_damaged_gzip(tmp_path: Path) -> None:
    write_mnist(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for data in (whole[:-20], b"no gzip", whole[:30] + b"\xff" * 50 + whole[80:]):
        path.write_bytes(data)
        with pytest.raises(TernzipError, match="data file cannot be read"):
            open_dataset("mnist", tmp_path)


def test_unknown_data_set() -> None:
    with pytest.raises(
        TernzipError, match=r"unknown data set 'svhn': expected one of auto, cifar10, cifar100, mnist"
    ):
        open_dataset("svhn")


def test_digits_come_with_scikit_learn() -> None:
    pytest.importorskip("sklearn")
    dataset = open_dataset("digits")
    assert len(dataset.train) + len(dataset.test) == 1797
    assert dataset.train.images.shape[1:] == dataset.info.image_shape == (1, 8, 8)
    assert dataset.train.images.max() == 255


def test_download_asks_pooch_with_md5_sums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    pooch = types.ModuleType("pooch")
    pooch.Untar = lambda extract_dir: extract_dir  # type: ignore[attr-defined]

    def retrieve(url: str, known_hash: str, fname: str, path: Path, processor: object = None) -> None:
        asked.append((url, known_hash))
        if fname.endswith(".tar.gz"):
            write_cifar10(path / "cifar-10-batches-bin")
        elif len(asked) == 2:
            write_mnist(path, packed=True)

    pooch.retrieve = retrieve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pooch", pooch)
    assert len(open_dataset("cifar10", tmp_path, download=True).train) == 20
    assert asked == [
        ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530")
    ]
    assert len(open_dataset("mnist", tmp_path, download=True).train) == 6
    assert len(asked) == 5
    for name, images in (
        ("cifar10", 20),
        ("mnist", 6),
    ):  # what is there is not fetched again, and is found again
        for download in (True, False):
            assert len(open_dataset(name, tmp_path, download=download).train) == images
    assert len(asked) == 5
    assert all(known.startswith("md5:") and len(known) == 36 for _, known in asked)

    def fail(*args: object, **kwargs: object) -> None:
        raise ValueError("MD5 hash of downloaded file does not match")

    pooch.retrieve = fail  # type: ignore[attr-defined]
    with pytest.raises(TernzipError, match="cifar10: download failed: MD5 hash"):
        open_dataset("cifar10", tmp_path / "elsewhere", download=True)
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(TernzipError, match=r"downloading needs pooch: pip install 'ternzip\[train\]'"):
        open_dataset("mnist", tmp_path / "elsewhere", download=True)


@pytest.fixture
def split() -> Split:
    return Split(torch.arange(50, dtype=torch.uint8).reshape(50, 1, 1, 1), torch.arange(50))


def labels(batches: ImageBatches) -> list[list[int]]:
    return [batch[1].tolist() for batch in batches]


def test_order_depends_on_seed_and_epoch_alone(split: Split) -> None:
    def order(**options: int) -> list[list[int]]:
        return labels(ImageBatches(split, 16, shuffle=True, **options))

    assert order(seed=1, epoch=2) == order(seed=1, epoch=2)
    assert order(seed=1, epoch=2) != order(seed=1, epoch=3)
    assert order(seed=1, epoch=2) != order(seed=2, epoch=2)
    assert sorted(itertools.chain(*order())) == list(range(50))


def test_evaluation_sees_every_image_once_over_all_processes(split: Split) -> None:
    parts = [labels(ImageBatches(split, 16, rank=rank, world=3)) for rank in range(3)]
    assert sorted(itertools.chain(*itertools.chain(*parts))) == list(range(50))


def test_processes_share_each_training_batch_and_its_augmentation(split: Split) -> None:
    options = {"shuffle": True, "padding": 4, "mirror": True, "seed": 5}
    alone = list(ImageBatches(split, 15, **options))  # type: ignore[arg-type]
    parts = [list(ImageBatches(split, 15, rank=r, world=2, **options)) for r in range(2)]  # type: ignore[arg-type]
    assert len(alone) == len(parts[0]) == len(parts[1]) == 4
    for whole, first, second in zip(alone, *parts, strict=True):
        count = len(whole[1]) - len(whole[1]) % 2
        assert len(first[1]) == len(second[1]) == count // 2
        for rank, part in enumerate((first, second)):
            assert part[1].tolist() == whole[1][:count][rank::2].tolist()
            assert part[2].reach == whole[2].reach == 4
            assert all(
                torch.equal(p, w[:count][rank::2]) for p, w in zip(part[2][:3], whole[2][:3], strict=True)
            )


def test_a_remainder_of_one_is_left_out_of_training_only(split: Split) -> None:
    assert len(list(ImageBatches(split, 7, shuffle=True))) == len(ImageBatches(split, 7, shuffle=True)) == 7
    assert len(list(ImageBatches(split, 7))) == len(ImageBatches(split, 7)) == 8


def test_augment_shifts_and_mirrors_each_image() -> None:
    images = torch.randint(1, 256, (4, 2, 6, 5), dtype=torch.uint8)
    down, right = torch.tensor([0, 2, -1, 0]), torch.tensor([0, -1, 3, 0])
    mirror = torch.tensor([False, False, True, True])
    out = augment(images, Crop(down, right, mirror, 4))
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    for i in range(4):
        y, x = 4 + int(down[i]), 4 + int(right[i])
        expected = padded[i, :, y : y + 6, x : x + 5]
        assert torch.equal(out[i], expected.flip(2) if mirror[i] else expected)


def test_shifts_cover_the_whole_range() -> None:
    split = Split(torch.zeros(2000, 1, 1, 1, dtype=torch.uint8), torch.zeros(2000, dtype=torch.int64))
    ((_, _, crop),) = ImageBatches(split, 2000, padding=4, mirror=True)
    assert crop is not None
    assert crop.down.unique().tolist() == crop.right.unique().tolist() == list(range(-4, 5))
    assert 0.4 < crop.mirror.float().mean() < 0.6


def test_normalize() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).reshape(2, 1, 1, 1)
    assert normalize(images, (0.5,), (0.25,)).flatten().tolist() == [-2.0, 2.0]
