"""Invalid Huffman codes of planes, one for each rule of docs/format-huffman.md."""

from __future__ import annotations

from golden import builder as b
from golden.cases import add
from golden.huffman_payload import encode, payload, streams

# The document's example, and its parts.
LENGTHS = {98: 2, 99: 1, 100: 3, 101: 3}
PLAIN = b"bccde"
PARTS = streams(PLAIN, LENGTHS)
VALID = encode(PLAIN, LENGTHS)


def file(content: bytes) -> bytes:
    item = b.Item(b"x", b.PLANES, b.UINT8, (len(PLAIN),))
    return b.file([item], [b.Record(b"\0" + b.plane(content, method=2), len(PLAIN))])


CASES = {
    "empty": ("a payload does not end within a part", b""),
    "bounds-equal": ("`last` is above `first`", payload({98: 1}, PARTS)),
    "bounds-reversed": ("`last` is above `first`", payload(LENGTHS, PARTS, bounds=(101, 98))),
    "lengths-end": ("a payload does not end within a part", VALID[:3]),
    "first-unused": ("`first` has a code", payload(LENGTHS, PARTS, bounds=(97, 101))),
    "last-unused": ("`last` has a code", payload(LENGTHS, PARTS, bounds=(98, 102))),
    "unused-half": (
        "an unused half byte is zero",
        bytes([98, 100, 0x12, 0x12]) + VALID[4:13] + b"".join(streams(b"bccdd", {98: 2, 99: 1, 100: 2})),
    ),
    "length-13": (
        "no length exceeds 12",
        payload({**{50 + i: i for i in range(1, 13)}, 63: 13, 64: 13}, [b"\x0f" * 4] * 4),
    ),
    "overfull": ("the codes are complete", payload({**LENGTHS, 101: 2}, PARTS)),
    "incomplete": ("the codes are complete", payload({**LENGTHS, 99: 2}, PARTS)),
    "sizes-end": ("a payload does not end within a part", VALID[:12]),
    "streams-end": ("a payload does not end within a part", payload(LENGTHS, PARTS, sizes=(1, 1, 2))),
    "stream-short": ("no stream ends before its last code", payload(LENGTHS, [b"", *PARTS[1:]])),
    "stream-long": (
        "no stream goes on after its last code",
        payload(LENGTHS, [PARTS[0] + b"\0", *PARTS[1:]]),
    ),
    "stream-for-nothing": ("a stream for no bytes is empty", payload(LENGTHS, [*PARTS[:3], b"\0"])),
    "filling": ("the bits that fill up a stream are zero", payload(LENGTHS, [b"\x81", *PARTS[1:]])),
}

for name, (rule, content) in CASES.items():
    message = f"tensor 'x': offset 32: plane: {len(content)} bytes of Huffman codes cannot stand for 5 bytes"
    add(f"huffman-{name}", f"format-huffman: {rule}", message, file(content))
