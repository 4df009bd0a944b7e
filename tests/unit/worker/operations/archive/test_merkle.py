"""The Merkle tree, by the known answers of Certificate Transparency's reference implementation."""

import pytest

from worker.operations.archive.lines import entry_line, parse
from worker.operations.archive.merkle import MerkleTree

LINES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def test_the_roots_are_those_of_rfc_6962() -> None:
    tree = MerkleTree()
    assert tree.root() == ROOTS[0]
    for line, root in zip(LINES, ROOTS[1:], strict=True):
        tree.add(bytes.fromhex(line))
        assert tree.root() == root


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"plain",
        b'"',
        b"\\",
        b'","',
        b'"]}',
        b"\n",
        "é".encode(),
        b"\xff\x00",
        b'","fields":["',
        b"\\u0041",
        b"\x7f",
    ],
)
def test_an_entry_is_read_as_it_was_written_whatever_is_in_it(value: bytes) -> None:
    """Also the same field twice, and a line that nobody's JSON library would write."""
    for fields in ([b"event", value], [value, value, value, b"x"], [value]):
        line = entry_line(b"1-0", fields)
        assert parse(line) == (b"1-0", fields)
        assert b"\n" not in line
    assert parse(b'{"fields": ["a"], "position": "1-0"}') == (b"1-0", [b"a"])


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"note":1', b'{"position":"1-0"}', b'{"position":1,"fields":[]}'])
def test_what_is_neither_an_entry_nor_a_note_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="neither"):
        parse(line)
