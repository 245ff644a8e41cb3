"""Data sets found in folders: CIFAR in both layouts, pictures in folders and in Parquet files, IDX files, none."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ternzip
from ternzip import TernzipError
from ternzip.models import NetworkSpec
from ternzip.training.catalog import IMAGENET_MEAN, parse_image_size, statistics_of
from ternzip.training.datasets import Wanted, dataset_of, open_dataset
from ternzip.training.evaluation import evaluate
from ternzip.training.feeds import ImageFeed
from ternzip.training.images import measured_statistics
from ternzip.training.readers.inert_pickle import read_inert_pickle
from ternzip.training.recipe import Recipe

RANDOM = np.random.default_rng(0)


def write_cifar_python(folder: Path, protocol: int = 2, count: int = 3) -> dict[bytes, Any]:
    """As its authors' Python 2 did: keys and strings are bytes. Returns the last training batch."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        batch = {
            b"batch_label": b"a batch",
            b"labels": [int(n) for n in RANDOM.integers(0, 10, count)],
            b"data": RANDOM.integers(0, 256, (count, 3072), dtype=np.uint8),
            b"filenames": [b"a.png"] * count,
        }
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    names = [f"class {i}".encode() for i in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=protocol))
    return batch


def picture(colour: tuple[int, ...] | int, size: tuple[int, int] = (8, 8), mode: str = "RGB") -> bytes:
    image = pytest.importorskip("PIL.Image").new(mode, size, colour)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def write_pictures(folder: Path, names: tuple[str, ...] = ("cat", "dog"), count: int = 2) -> None:
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i}.png").write_bytes(picture((100 * label, i, 7)))


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_python(tmp_path: Path, protocol: int) -> None:
    batch = write_cifar_python(tmp_path / "cifar-10-batches-py", protocol)
    dataset = open_dataset("auto", tmp_path)
    assert dataset.summary == "cifar10: 15 + 3 images of 3x32x32, 10 classes"
    assert dataset.info.classes[3] == "class 3"
    assert dataset.test.labels.tolist() == batch[b"labels"]
    assert dataset.test.images[1, 2, 3, 4] == batch[b"data"][1, 2 * 1024 + 3 * 32 + 4]
    assert statistics_of(dataset.info, "imagenet")[0] == IMAGENET_MEAN


def test_cifar100_in_both_layouts(tmp_path: Path) -> None:
    pixels = RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8)
    fine, coarse = [0, 99, 5, 7], [1, 2, 3, 4]
    records = np.concatenate([np.array([coarse, fine], np.uint8).T, pixels], axis=1)
    for name in ("train", "test"):
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"n{i}" for i in range(100)))
    binary = open_dataset("auto", tmp_path)
    python = tmp_path / "cifar-100-python"
    python.mkdir()
    batch = {b"data": pixels, b"fine_labels": fine, b"coarse_labels": coarse}
    for name in ("train", "test"):
        (python / name).write_bytes(pickle.dumps(batch, protocol=2))
    assert open_dataset("cifar100", python).train.labels.tolist() == fine
    assert binary.train.labels.tolist() == fine
    assert binary.info.classes[99] == "n99"
    assert torch.equal(open_dataset("auto", python).train.images, binary.train.images)


def test_damaged_cifar_python(tmp_path: Path) -> None:
    write_cifar_python(tmp_path)
    path = tmp_path / "data_batch_2"
    good = pickle.loads(path.read_bytes())
    for batch, message in (
        (
            {**good, b"data": good[b"data"][:, :-1]},
            r"expected 'data' of bytes .*, found uint8\(3, 3071\)",
        ),
        ({**good, b"data": good[b"data"].astype(float)}, "expected .*, found float64"),
        ({b"labels": [1]}, "expected 'data' of bytes .*, found NoneType"),
        ({**good, b"labels": [0, 10, 1]}, "expected labels 0 to 9, found 10"),
        ({**good, b"labels": [0, -1, 1]}, "expected labels 0 to 9, found -1"),
        ({**good, b"labels": [0]}, "expected as many labels as images, found 1 and 3"),
        ({b"data": good[b"data"]}, "expected 'labels', a list of numbers, among data"),
        ([1, 2], "expected a pickled dictionary, found list"),
    ):
        path.write_bytes(pickle.dumps(batch, protocol=2))
        with pytest.raises(TernzipError, match=rf"data_batch_2: (damaged: )?{message}"):
            open_dataset("cifar10", tmp_path)
    path.write_bytes(pickle.dumps(good)[:-40])
    with pytest.raises(TernzipError, match=r"data_batch_2: .*(truncated|damaged)"):
        open_dataset("cifar10", tmp_path)
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({b"label_names": [b"one"]}))
    path.write_bytes(pickle.dumps(good))
    with pytest.raises(TernzipError, match=r"batches\.meta: expected the names of 10 classes, found 1"):
        open_dataset("cifar10", tmp_path)


class Harm:
    """What a hostile pickle does when it is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (self.folder,))


def test_a_pickle_of_a_stranger_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "batch"
    shared: list[Any] = [0]
    for _ in range(60):
        shared = [shared, shared]
    itself: list[Any] = []
    itself.append(itself)
    for value, message in (
        (Harm(tmp_path / "harmed"), "refused: the pickle calls"),
        (print, r"refused: the pickle calls (builtins|__builtin__)\.print"),
        (np.array([Harm(tmp_path / "harmed")], dtype=object), "refused|expected an array of numbers"),
        (np.array([1, "a"], dtype=object), "expected an array of numbers, found elements 'O8'"),
        (np.zeros(2, dtype=[("a", "u1")]), "expected an array of numbers, found elements 'V1'"),
        (1j, "refused: the pickle calls .*complex"),
        ({1, 2}, "refused|found set"),
        (itself, "damaged"),
    ):
        for protocol in (0, 2, 4):
            with pytest.raises(TernzipError, match=message):
                read_inert_pickle(pickle.dumps(value, protocol=protocol), path)
    assert not list(tmp_path.iterdir())
    assert len(read_inert_pickle(pickle.dumps(shared), path)) == 2  # and not 2^60 copies
    whole = pickle.dumps(
        {b"a": np.arange(6, dtype=np.int16).reshape(2, 3).T, "b": (None, True, 1.5)}, protocol=2
    )
    found = read_inert_pickle(whole, path)
    assert found[b"a"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert found["b"] == (None, True, 1.5)


@pytest.mark.parametrize("function", [b"_codecs\nencode\n", b"numpy.core.multiarray\n_reconstruct\n"])
def test_a_pickle_cannot_change_what_reads_the_next_one(tmp_path: Path, function: bytes) -> None:
    """By the opcode BUILD, which sets attributes of what a pickle names: here, another default for an argument."""
    state = b"N}X\x0c\x00\x00\x00__defaults__X\x04\x00\x00\x00utf8\x85s\x86"
    with pytest.raises(TernzipError, match="refused: the pickle changes a function"):
        read_inert_pickle(b"\x80\x02c" + function + state + b"b.", tmp_path / "batch")


def test_arrays_whose_bytes_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Also where the state is what numpy's own reconstruction would take on trust."""
    path = tmp_path / "batch"
    whole = pickle.dumps(np.arange(37, dtype=np.uint8), protocol=2)
    (place,) = [at for op, value, at in pickletools.genops(whole) if op.name == "BININT1" and value == 37]
    larger = whole[: place + 1] + b"\x63" + whole[place + 2 :]
    with pytest.raises(TernzipError, match=r"expected an array of 99 elements of 1 bytes, found 37"):
        read_inert_pickle(larger, path)


def test_a_folder_of_pictures_for_each_class(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("val", 1)):
        write_pictures(tmp_path / split, count=count)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / ".cache").mkdir()
    dataset = open_dataset("auto", tmp_path)
    assert dataset.summary == "image-folder: 6 + 2 images of 3x8x8, 2 classes"
    assert dataset.info.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert dataset.train.images[4, :, 0, 0].tolist() == [100, 1, 7]
    assert dataset.info.mirrors
    assert dataset.info.mean == pytest.approx((50 / 255, 1 / 255, 7 / 255), abs=1e-4)
    assert dataset.info.std[2] == 1.0  # a channel of one value
    assert statistics_of(dataset.info, "imagenet")[0] == dataset.info.mean


def test_folders_within_a_class_are_of_it(tmp_path: Path) -> None:
    """They were left out without a word."""
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test")
    deep = tmp_path / "train" / "dog" / "more" / "still"
    deep.mkdir(parents=True)
    (deep / "a.png").write_bytes(picture((9, 9, 9)))
    hidden = tmp_path / "train" / "dog" / ".checkpoints"
    hidden.mkdir()
    (hidden / "0.png").write_bytes(picture((9, 9, 9)))
    (deep / "loop").symlink_to(tmp_path / "train" / "dog")
    (tmp_path / "train" / "eel" / "inner").mkdir(parents=True)
    (tmp_path / "train" / "eel" / "inner" / "e.png").write_bytes(picture((5, 5, 5)))
    (tmp_path / "test" / "eel").mkdir()
    (tmp_path / "test" / "eel" / "e.png").write_bytes(picture((5, 5, 5)))
    dataset = open_dataset("auto", tmp_path)
    assert dataset.info.classes == ("cat", "dog", "eel")
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 1, 2]
    assert dataset.train.images[:, :, 0, 0].tolist()[4:] == [[9, 9, 9], [5, 5, 5]]
    assert len(dataset.test) == 5

    with pytest.raises(TernzipError, match="train/eel: expected pictures of a class in it, found them in"):
        open_dataset("auto", tmp_path / "train")  # without a train/ in it, eel/inner may be anything


def test_test_images_are_set_aside_where_there_are_none(tmp_path: Path) -> None:
    write_pictures(tmp_path, count=5)
    first, again = (open_dataset("auto", tmp_path) for _ in range(2))
    count = len(first.test)
    assert (len(first.train), 1 <= count <= 4) == (10 - count, True)
    assert torch.equal(first.test.images, again.test.images)
    assert first.notes == (f"{tmp_path}: no test images: {count} of 10 set aside by --test-share",)
    assert len(open_dataset("auto", tmp_path, wanted=Wanted(test_share=1.0)).test) == 10


def test_names_of_folders_and_files_need_not_be_utf8(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for split in (b"train", b"test"):
        for name in (b"caf\xe9", "grün, 日本".encode()):
            folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + split + b"/" + name))
            try:
                folder.mkdir(parents=True)
            except OSError:
                pytest.skip("the file system takes UTF-8 alone")
            image.new("L", (4, 4)).save(folder / os.fsdecode(b"\xff.png"))
    found = open_dataset("image-folder", tmp_path)
    assert found.info.classes == ("caf\\xe9", "grün, 日本")
    spec = NetworkSpec("fc3", image_shape=(1, 4, 4), num_classes=2, classes=found.info.classes)
    ternzip.save_file({"a": torch.ones(1)}, tmp_path / "a.tnz", metadata=spec.to_metadata())
    assert ternzip.models.read_spec(tmp_path / "a.tnz") == spec
    assert open_dataset("image-folder", tmp_path, like=spec).info.classes == spec.classes


def test_what_is_set_aside_stays_so_as_the_folder_grows(tmp_path: Path) -> None:
    def values(images: torch.Tensor) -> set[tuple[int, ...]]:
        return {tuple(image[:, 0, 0].tolist()) for image in images}

    write_pictures(tmp_path / "small", count=40)
    write_pictures(tmp_path / "large", count=100)
    small, large = (open_dataset("auto", tmp_path / name) for name in ("small", "large"))
    assert values(small.test.images) < values(large.test.images)
    assert values(small.train.images) < values(large.train.images)
    assert len(large.test) == pytest.approx(40, abs=15)


def test_evaluation_says_that_images_were_set_aside(tmp_path: Path) -> None:
    write_pictures(tmp_path / "data", count=10)
    network = ternzip.models.ARCHITECTURES["fc3"].build(in_features=192, num_classes=2, hidden=8)
    ternzip.save_file(network.state_dict(), tmp_path / "net.tnz")
    recipe = Recipe(arch="fc3", arch_arg=("hidden=8",), data=str(tmp_path / "data"))
    found = evaluate(tmp_path / "net.tnz", recipe)
    assert found.notes == (
        f"{tmp_path / 'data'}: no test images: {found.images} of 20 set aside by --test-share",
    )


def test_a_single_training_image_is_too_few(tmp_path: Path) -> None:
    write_pictures(tmp_path, count=1)
    recipe = Recipe(data=str(tmp_path), test_share=1.0)
    with pytest.raises(
        TernzipError, match="expected two training images or more, found 0 beside 2 for testing"
    ):
        ImageFeed(recipe, dataset_of(recipe))


def test_pictures_of_no_class_are_no_classes(tmp_path: Path) -> None:
    write_pictures(tmp_path, ("train", "test"))
    with pytest.raises(
        TernzipError, match="test: expected a folder of pictures for each class, found pictures of no"
    ):
        open_dataset("auto", tmp_path)
    write_pictures(tmp_path / "vehicles", ("car", "train"))
    assert open_dataset("auto", tmp_path / "vehicles").info.classes == ("car", "train")


def test_sizes_and_channels(tmp_path: Path) -> None:
    write_pictures(tmp_path, count=2)
    wide = pytest.importorskip("PIL.Image").new("RGB", (40, 20))
    wide.paste((255, 255, 255), (10, 0, 30, 20))  # its middle, which is all that a square keeps
    wide.save(tmp_path / "cat" / "wide.png")
    usual = open_dataset("auto", tmp_path)
    assert usual.info.image_shape == (3, 32, 32)
    assert "pictures of several sizes, as 8x8" in usual.notes[0]
    cut, stretched = (
        open_dataset("auto", tmp_path, wanted=Wanted(size=(10, 10), fit=fit, test_share=1.0)).test.images[
            2, 0
        ]
        for fit in ("crop", "stretch")
    )
    assert cut.min() > 200
    assert (stretched[:, 0].max(), stretched[:, 5].min()) == (0, 255)
    grey = open_dataset("auto", tmp_path, like=NetworkSpec("fc3", {}, (1, 6, 9), 2))
    assert grey.train.images.shape[1:] == (1, 6, 9)
    (tmp_path / "cat" / "deep.png").write_bytes(picture(40_000, mode="I;16"))
    with pytest.raises(TernzipError, match=r"deep\.png: expected 8 bits a channel, found mode I;16"):
        open_dataset("auto", tmp_path)
    (tmp_path / "cat" / "deep.png").write_bytes(picture(0)[:40])
    with pytest.raises(TernzipError, match=r"deep\.png: not a picture that can be read"):
        open_dataset("auto", tmp_path)


def test_grey_pictures_have_one_channel(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(picture(9, mode="L"))
    dataset = open_dataset("auto", tmp_path)
    assert dataset.info.image_shape == (1, 8, 8)
    assert not dataset.info.mirrors


def test_class_folders_that_do_not_fit(tmp_path: Path) -> None:
    write_pictures(tmp_path / "train")
    write_pictures(tmp_path / "test", ("cat", "cow"))
    with pytest.raises(
        TernzipError, match="train/cow: expected pictures of class 'cow', as in the other split"
    ):
        open_dataset("auto", tmp_path)
    write_pictures(tmp_path / "one", ("cat",))
    with pytest.raises(TernzipError, match="expected folders of two classes or more, found 'cat' alone"):
        open_dataset("auto", tmp_path / "one")
    with pytest.raises(TernzipError, match=r"expected the classes dog, cat, \.\.\., found cat, dog"):
        open_dataset(
            "auto", tmp_path / "train", like=NetworkSpec("fc3", {}, (3, 8, 8), 2, classes=("dog", "cat"))
        )
    with pytest.raises(TernzipError, match="the network was made for num classes 3, found 2"):
        open_dataset("auto", tmp_path / "train", like=NetworkSpec("fc3", {}, (3, 8, 8), 3))


def write_parquet(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata or {}), path)


def test_parquet_of_pictures(tmp_path: Path) -> None:
    pictures = [picture((i, 0, 0)) for i in range(3)]
    write_parquet(
        tmp_path / "train-00000-of-00001.parquet",
        {"image": pictures, "label": [1, 0, 1]},
        {"class_names": "cat,dog"},
    )
    # As the Hub has it: records with a path beside the bytes.
    write_parquet(
        tmp_path / "my-test.parquet",
        {"image": [{"bytes": one, "path": None} for one in pictures], "label": [0, 0, 1]},
    )
    dataset = open_dataset("auto", tmp_path)
    assert dataset.summary == "parquet: 3 + 3 images of 3x8x8, 2 classes"
    assert dataset.info.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [1, 0, 1]
    assert dataset.test.images[2, 0, 0, 0] == 2

    features = '{"info": {"features": {"label": {"names": ["dog", "cat", "cow"]}}}}'
    write_parquet(
        tmp_path / "train-00000-of-00001.parquet",
        {"image": pictures, "label": [2, 0, 1]},
        {"huggingface": features},
    )
    assert open_dataset("auto", tmp_path).info.classes == ("dog", "cat", "cow")


def test_parquet_with_names_for_labels(tmp_path: Path) -> None:
    pictures = [picture((i, 0, 0)) for i in range(2)]
    write_parquet(tmp_path / "train.parquet", {"img": pictures, "class": ["dog", "cat"]})
    write_parquet(tmp_path / "test.parquet", {"img": pictures, "class": ["cat", "cow"]})
    with pytest.raises(
        TernzipError, match=r"test\.parquet: row 1: expected a label of the training pictures, found 'cow'"
    ):
        open_dataset("auto", tmp_path)
    write_parquet(tmp_path / "test.parquet", {"img": pictures, "class": ["cat", "cat"]})
    dataset = open_dataset("auto", tmp_path)
    assert dataset.info.classes == ("cat", "dog")
    assert (dataset.train.labels.tolist(), dataset.test.labels.tolist()) == ([1, 0], [0, 0])


def test_bad_parquet(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    for columns, message in (
        ({"image": [b"no picture"], "label": [0]}, "row 0: not a picture that can be read"),
        ({"image": [None, picture(0)], "label": [0, 1]}, "row 0: expected a picture, found none"),
        ({"image": [picture(0)], "label": [None]}, "expected a column of labels|row 0: expected a label"),
        ({"image": [picture(0)], "label": [-1]}, "row 0: expected a label from 0 to -1, found -1"),
        (
            {"image": [picture(0), picture(1)], "label": [0, 1 << 62]},
            "row 1: expected a label from 0 to 1048574, found 4611686018427387904",
        ),
        ({"image": [picture(0)]}, r"expected a column of labels \(label, .*\), found image: binary"),
        ({"text": ["a"], "label": [1]}, r"expected a column of encoded pictures \(binary\), found text"),
        ({"image": [picture(0)], "a": [1], "b": [2]}, "expected a column of labels"),
    ):
        write_parquet(path, columns)
        with pytest.raises(TernzipError, match=rf"train\.parquet: {message}"):
            open_dataset("parquet", tmp_path)
    path.write_bytes(b"PAR1nonsense")
    with pytest.raises(TernzipError, match=r"train\.parquet: not a Parquet file that can be read"):
        open_dataset("parquet", tmp_path)


def test_what_a_reader_needs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(
        TernzipError, match=r"reading Parquet files needs pyarrow: pip install 'ternzip\[parquet\]'"
    ):
        open_dataset("auto", tmp_path)
    (tmp_path / "train.parquet").unlink()
    write_pictures(tmp_path)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(TernzipError, match=r"reading pictures needs pillow: pip install 'ternzip\[train\]'"):
        open_dataset("auto", tmp_path)


def test_idx_files_of_any_size(tmp_path: Path) -> None:
    for prefix, count in (("train", 6), ("t10k", 3)):
        for kind, array in (
            ("images-idx3", np.arange(count * 64).reshape(count, 8, 8)),
            ("labels-idx1", np.arange(count)),
        ):
            header = bytes((0, 0, 8, array.ndim)) + b"".join(n.to_bytes(4, "big") for n in array.shape)
            (tmp_path / f"{prefix}-{kind}-ubyte").write_bytes(header + array.astype(np.uint8).tobytes())
    dataset = open_dataset("auto", tmp_path)
    assert dataset.summary == "idx: 6 + 3 images of 1x8x8, 6 classes"
    assert dataset.info.mean == (pytest.approx(float(dataset.train.images.double().mean() / 255), abs=1e-4),)


def test_no_data_and_too_much(tmp_path: Path) -> None:
    with pytest.raises(TernzipError, match="absent: no such folder of data"):
        open_dataset("auto", tmp_path / "absent")
    with pytest.raises(
        TernzipError, match=r"no data set found: expected CIFAR's files \(binary or python\), four IDX"
    ):
        open_dataset("auto", tmp_path)
    write_cifar_python(tmp_path)
    write_pictures(tmp_path / "train")
    with pytest.raises(
        TernzipError, match="holds several data sets: cifar10, image-folder: --dataset says which"
    ):
        open_dataset("auto", tmp_path)
    assert open_dataset("cifar10", tmp_path).info.name == "cifar10"


def test_options_of_pictures_are_for_pictures(tmp_path: Path) -> None:
    write_cifar_python(tmp_path)
    with pytest.raises(TernzipError, match="--image-size: not used with cifar10, only with pictures"):
        dataset_of(Recipe(data=str(tmp_path), image_size="16"))
    assert [parse_image_size(text) for text in ("32", "16x24")] == [(32, 32), (16, 24)]
    for text in ("", "0", "axb", "1x2x3", "-4", "99999999"):
        with pytest.raises(
            TernzipError, match="--image-size: expected a number of pixels, or height x width"
        ):
            Recipe(image_size=text)


def test_statistics_are_those_of_the_training_images() -> None:
    images = torch.randint(0, 256, (9, 3, 5, 4), dtype=torch.uint8)
    mean, std = measured_statistics(images)
    scaled = images.double() / 255
    assert mean == pytest.approx(scaled.mean((0, 2, 3)).tolist(), abs=5e-5)
    assert std == pytest.approx(scaled.std((0, 2, 3), correction=0).tolist(), abs=5e-5)
