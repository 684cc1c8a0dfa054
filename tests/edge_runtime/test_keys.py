"""Key files: one that cannot be read, or holds something else, is a typed error."""

from __future__ import annotations

import os
from pathlib import Path

import bundles
import pytest

from edge_runtime.contract.errors import KeyInvalid
from edge_runtime.keys import MAX_KEY_BYTES, read_key, read_keys


def test_one_key_or_several_are_read(tmp_path: Path) -> None:
    paths = []
    for number, signer in enumerate((bundles.SIGNER, bundles.STRANGER)):
        paths.append(tmp_path / f"{number}.pub")
        paths[-1].write_bytes(signer.public_key.pem)
    expected = [bundles.SIGNER.public_key.fingerprint, bundles.STRANGER.public_key.fingerprint]
    assert [key.fingerprint for key in read_keys(paths)] == expected
    assert [key.fingerprint for key in read_keys(str(paths[1]))] == expected[1:]
    assert read_keys([]) == []


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("absent", "No such file"),
        ("directory", "it is no regular file"),
        ("pipe", "it is no regular file"),
        ("large", f"more than {MAX_KEY_BYTES} bytes"),
    ],
)
def test_a_file_that_cannot_be_a_key_says_why(tmp_path: Path, kind: str, reason: str) -> None:
    path = tmp_path / "release.pub"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        path.write_bytes(b"\n" * (MAX_KEY_BYTES + 1))
    with pytest.raises(KeyInvalid, match=reason) as caught:
        read_key(path)
    assert caught.value.values["path"] == str(path)


@pytest.mark.parametrize("data", [b"", b"text", b"-----BEGIN PUBLIC KEY-----\nx\n"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "release.pub"
    path.write_bytes(data)
    with pytest.raises(KeyInvalid):
        read_keys(path)
