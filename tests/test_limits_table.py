"""The table of limits in docs/FORMAT.md: it has every limit of the code with its value, and each is enforced.

Invalid golden files go one beyond a limit; tests/test_golden.py has ternzip and the reference decoder refuse them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from forge import parts
from golden.catalog import INVALID

import ternzip
from ternzip import codecs
from ternzip._core.errors import TernzipError
from ternzip._core.varint import encode_varint
from ternzip.container import limits
from ternzip.container.reader import Reader

FORMAT = (Path(__file__).parents[1] / "docs" / "FORMAT.md").read_text("utf-8")


def save(**extensions: bytes) -> None:
    ternzip.save({"w": torch.ones(3)}, extensions=extensions)


def save_tensor(tensor: torch.Tensor, name: str = "w") -> None:
    ternzip.save({name: tensor})


@dataclass
class Limit:
    """What the code knows of a limit.

    Attributes:
        constants: of ternzip.container.limits, from which `most` is made.
        beyond: golden files that break it.
        write: asks the writer for more. None: it never has the choice, as shapes decide, or it takes another form
            (the tests in `kept`).
        kept: tests that show that what is written is within it.
    """

    constants: list[str]
    most: str
    beyond: list[str]
    write: Callable[[], object] | None = None
    kept: list[str] = field(default_factory=list)


LIMITS = {
    "a varint": Limit(
        ["MAX_VARINT"],
        f"{limits.MAX_VARINT}",
        ["varint-2-64", "varint-endless", "varint-long"],
        lambda: encode_varint(1 << 64),
    ),
    "bytes of the parameters": Limit(
        ["MAX_SECTION_BYTES"],
        f"{limits.MAX_SECTION_BYTES}",
        ["truncated"],  # the preamble has 32 bits for it: what exceeds them is bytes too many
        kept=["test_limits.py::test_sections_have_sizes_of_32_bits"],
    ),
    "bytes of the directory": Limit(
        ["MAX_SECTION_BYTES"],
        f"{limits.MAX_SECTION_BYTES}",
        ["truncated"],
        kept=["test_limits.py::test_sections_have_sizes_of_32_bits"],
    ),
    "bytes of the table of a directory of d bytes": Limit(
        ["DIRECTORY_RATIO", "DIRECTORY_SLACK"],
        f"{limits.DIRECTORY_RATIO} d + {limits.DIRECTORY_SLACK}",
        ["directory-bomb"],
        kept=["test_limits_table.py::test_tables_that_compress_too_well_are_stored"],
    ),
    "tensors, metadata entries and strings of codec parameters in a directory of d bytes": Limit(
        ["ENTRY_BYTES", "ENTRY_SLACK"],
        f"floor(d / {limits.ENTRY_BYTES}) + {limits.ENTRY_SLACK}",
        ["table-crowded"],
        kept=["test_hostile_index.py::test_crowded_directories"],
    ),
    "bytes of a window of zstd": Limit(
        ["MAX_WINDOW_BYTES"],
        f"{limits.MAX_WINDOW_BYTES}",
        ["frame-window"],
        kept=["test_limits_table.py::test_tables_that_compress_too_well_are_stored"],
    ),
    "dimensions of a tensor": Limit(
        ["MAX_DIMENSIONS"],
        f"{limits.MAX_DIMENSIONS}",
        ["dimensions"],
        lambda: save_tensor(torch.zeros([1] * 65)),
    ),
    "bytes of a tensor, lengths of 0 counted as 1": Limit(
        ["MAX_TENSOR_BYTES"],
        f"{limits.MAX_TENSOR_BYTES}",
        ["shape-2-63", "shape-2-63-empty"],
        lambda: save_tensor(torch.zeros(2**61, 0)),
    ),
    "bytes of a tensor's name": Limit(
        ["MAX_NAME_BYTES"],
        f"{limits.MAX_NAME_BYTES}",
        ["name-long"],
        lambda: save_tensor(torch.ones(1), "n" * 65_537),
    ),
    "bytes of a string of codec parameters": Limit(
        ["MAX_CODEC_PARAMETER_BYTES"],
        f"{limits.MAX_CODEC_PARAMETER_BYTES}",
        ["codec-parameters-65536", "codec-parameters-empty"],
        lambda: codecs.candidates("auto", parameters={"context": bytes(65_536)}),
        ["test_codec_parameters.py::test_a_codec_may_not_choose_longer_ones"],
    ),
    "extensions": Limit(
        ["MAX_EXTENSIONS"],
        f"{limits.MAX_EXTENSIONS}",
        ["extensions-257"],
        lambda: save(**{f"{number}": b"" for number in range(257)}),
    ),
    "bytes of an extension's name": Limit(
        ["MAX_EXTENSION_NAME_BYTES"],
        f"{limits.MAX_EXTENSION_NAME_BYTES}",
        ["extension-name-long", "extension-name-empty"],
        lambda: save(**{"n" * 256: b""}),
    ),
    "symbols or bytes that a byte of a record stands for": Limit(
        ["MAX_EXPANSION"],
        f"{limits.MAX_EXPANSION}",
        ["record-not-filled"],
        kept=["test_limits_table.py::test_records_that_need_nothing_are_filled_up"],
    ),
    "bytes of a solid tensor": Limit(
        ["SOLID_LIMIT"],
        f"{limits.SOLID_LIMIT - 1}",
        ["solid-large"],
        kept=["test_limits_table.py::test_solid_tensors_and_blocks"],
    ),
    "bytes of a solid block of several tensors": Limit(
        ["SOLID_BLOCK_BYTES"],
        f"{limits.SOLID_BLOCK_BYTES}",
        ["solid-block-large"],
        kept=["test_limits_table.py::test_solid_tensors_and_blocks"],
    ),
    "bytes of a block of planes": Limit(
        ["MAX_BLOCK_BYTES"],
        f"{limits.MAX_BLOCK_BYTES}",
        ["planes-large"],
        kept=["test_limits_table.py::test_blocks_of_planes_and_chunks"],
    ),
    "blocks of levels in a tensor of n elements, where there are several": Limit(
        ["MIN_LEVEL_BLOCK_ELEMENTS"],
        f"floor(n / {limits.MIN_LEVEL_BLOCK_ELEMENTS})",
        ["blocks-many", "blocks-one"],
        kept=["test_levels.py::test_blocks_have_two_elements_or_more"],
    ),
    "symbols of a chunk": Limit(
        ["MAX_CHUNK_SYMBOLS"],
        f"{limits.MAX_CHUNK_SYMBOLS}",
        ["chunk-large"],
        kept=["test_limits_table.py::test_blocks_of_planes_and_chunks"],
    ),
    **{
        f"symbols that a byte of `context` at effort {effort} stands for": Limit(
            [],  # the native core's
            f"{1 << (18 - effort)}",
            [f"context-expansion-{effort}"],
            kept=["test_context_limits.py::test_payloads_have_a_byte_for_so_many_trits"],
        )
        for effort in (1, 2, 3)
    },
    "symbols of a row of a chunk in bands of `context`": Limit(
        [],  # the native core's
        f"{1 << 17}",
        ["context-bands-wide"],
        kept=["test_context_bands.py::test_rows_too_wide_for_bands_are_coded_otherwise"],
    ),
}


def rows() -> dict[str, list[str]]:
    """(at least, at most, section) of each row of the table."""
    section = FORMAT[FORMAT.index("## 10. Limits") :]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["what", "at least", "at most", "section"]
    return {what: rest for what, *rest in cells[1:]}


def plain(text: str) -> str:
    """The cell with its powers and its commas worked out."""
    words = []
    for word in text.replace(",", "").replace(" - 1", "-1").split():
        power, _, minus = word.partition("-")
        if power.startswith("2^"):
            word = f"{2 ** int(power[2:]) - int(minus or 0)}"
        words.append(word)
    return " ".join(words)


def test_the_table_has_all_limits_and_no_others() -> None:
    assert list(rows()) == list(LIMITS)
    constants = {name for name in limits.__all__ if name.isupper()}
    assert constants == {name for limit in LIMITS.values() for name in limit.constants}
    assert constants == {name for name in vars(limits) if name.isupper()}


@pytest.mark.parametrize("what", LIMITS)
def test_the_table_has_the_value_of_the_code(what: str) -> None:
    assert plain(rows()[what][1]) == LIMITS[what].most


@pytest.mark.parametrize("what", LIMITS)
def test_a_section_of_the_document_states_it(what: str) -> None:
    """In its own words; the number has to be there."""
    _, most, number = rows()[what]
    start = FORMAT.index(f"## {number}. ")
    body = FORMAT[start : FORMAT.index(f"## {int(number) + 1}. ", start)]
    stated = {
        "2^64 - 1": "2^64",
        "2^63 - 1": "2^63",
        "65,535": ("65,536 bytes" if number == "4" else "65,535"),
    }
    stated |= {"2^23": "8 MiB", "2^32 - 1": "u32", "128 d + 65,536": "128 x (directory size) + 65,536"}
    stated |= {"floor(d / 4) + 65,536": "65,536 + floor((directory size) / 4)"}
    assert stated.get(most, most) in body


@pytest.mark.parametrize("what", LIMITS)
def test_readers_refuse_what_is_beyond(what: str) -> None:
    assert LIMITS[what].beyond
    assert set(LIMITS[what].beyond) <= set(INVALID)


@pytest.mark.parametrize("what", [what for what, limit in LIMITS.items() if limit.write is not None])
def test_the_writer_refuses_what_is_beyond(what: str) -> None:
    write = LIMITS[what].write
    assert write is not None
    with pytest.raises(
        (TernzipError, ValueError), match=r"expected (a name of )?(at most|less than|1 to)|out of range"
    ):
        write()


@pytest.mark.parametrize(
    "what", [what for what, limit in LIMITS.items() if limit.write is None or limit.kept]
)
def test_what_is_written_is_within(what: str) -> None:
    assert LIMITS[what].kept
    for test in LIMITS[what].kept:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (Path(__file__).parent / file).read_text("utf-8")


def test_tables_that_compress_too_well_are_stored() -> None:
    """The metadata would compress to a few hundred bytes; a window of 8 MiB covers what is compressed."""
    metadata = {"repeated": "x" * 1_000_000}
    data = ternzip.save({}, metadata)
    assert parts(data)[2][0] == 0
    assert len(data) > 1_000_000
    large = {"noise": "".join(chr(32 + n * n * 31 % 89) for n in range(9_000_000))}
    again = ternzip.save({}, large)
    with Reader.open(again) as reader:
        assert reader.metadata == large


def test_records_that_need_nothing_are_filled_up() -> None:
    count = 2 * limits.MAX_EXPANSION + 1
    records, _, _ = parts(ternzip.save({"w": torch.full((count,), 5, dtype=torch.int8)}))
    assert records == bytes(3)


def test_solid_tensors_and_blocks() -> None:
    solid = {f"{number}": torch.arange(65_535).to(torch.uint8) for number in range(17)}
    data = ternzip.save({**solid, "large": torch.arange(65_536).to(torch.uint8)})
    with Reader.open(data) as reader:
        assert [block.size for block in reader.blocks] == [16 * 65_535, 65_535]
        assert reader.entries["large"].block == -1


def test_blocks_of_planes_and_chunks() -> None:
    """One byte too many, and one symbol: both make two records."""
    size = (1 << 22) + 1
    planes = torch.zeros(size, dtype=torch.uint8)
    with Reader.open(ternzip.save({"planes": planes, "ternary": planes.to(torch.int8)})) as reader:
        units = {name: [record.units for record in entry.records] for name, entry in reader.entries.items()}
    assert units == {"planes": [1 << 22, 1], "ternary": [(1 << 21) + 1, 1 << 21]}
    assert limits.MAX_BLOCK_BYTES == limits.MAX_CHUNK_SYMBOLS == 1 << 22
