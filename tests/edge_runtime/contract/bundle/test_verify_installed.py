"""Installed packages: exactly the files that were installed, or a typed error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import bundles
import pytest

from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.errors import (
    DigestMismatch,
    StoreCorrupt,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "b.oci.tar"


def extracted(path: Path, directory: Path, index: int = 0) -> str:
    """Extract a target and return its digest."""
    with bundles.opened(path) as verified:
        verified.packages[index].extract(directory)
        return verified.packages[index].digest


@pytest.fixture
def installed(path: Path, tmp_path: Path) -> tuple[Path, str]:
    """A package as it stands in a store, and its recorded digest."""
    digest = extracted(bundles.bundle(path, ["x86-64-cpu"]), tmp_path / "package")
    return tmp_path / "package", digest


def test_an_installed_package_reads_back(installed: tuple[Path, str]) -> None:
    directory, digest = installed
    package = open_installed(directory, digest)
    package.check()
    assert package.digest == digest
    assert package.read(bundles.MODEL) == bundles.graph()


def test_an_empty_directory_beside_the_files_is_no_hindrance(
    installed: tuple[Path, str],
) -> None:
    directory, digest = installed
    (directory / "empty").mkdir()
    open_installed(directory, digest).check()


def add_file(directory: Path) -> None:
    (directory / "variants" / "other.onnx").write_bytes(b"x")


def add_link(directory: Path) -> None:
    (directory / "etc").symlink_to("/etc")


def remove(directory: Path) -> None:
    (directory / "README.md").unlink()


def remove_signature(directory: Path) -> None:
    (directory / SIGNATURE_NAME).unlink()


def remove_all(directory: Path) -> None:
    shutil.rmtree(directory)


def link(directory: Path) -> None:
    model = directory / bundles.MODEL
    model.rename(directory.parent / "moved")
    model.symlink_to(directory.parent / "moved")


def link_directory(directory: Path) -> None:
    (directory / "variants").rename(directory.parent / "moved")
    (directory / "variants").symlink_to(directory.parent / "moved")


def link_manifest(directory: Path) -> None:
    (directory / MANIFEST_NAME).rename(directory.parent / "moved")
    (directory / MANIFEST_NAME).symlink_to(directory.parent / "moved")


def hard_link(directory: Path) -> None:
    os.link(directory / bundles.MODEL, directory.parent / "second name")


def pipe(directory: Path) -> None:
    (directory / "README.md").unlink()
    os.mkfifo(directory / "README.md")


def grow(directory: Path) -> None:
    path = directory / "README.md"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes() + b"x")


def grow_manifest(directory: Path) -> None:
    path = directory / MANIFEST_NAME
    path.chmod(0o644)
    os.truncate(path, 8 << 20)


@pytest.mark.parametrize(
    "change",
    [
        add_file,
        add_link,
        remove,
        remove_signature,
        remove_all,
        link,
        link_directory,
        link_manifest,
        hard_link,
        pipe,
        grow,
        grow_manifest,
    ],
)
def test_a_directory_that_is_not_as_installed_is_refused(
    installed: tuple[Path, str], change: Callable[[Path], None]
) -> None:
    directory, digest = installed
    change(directory)
    with pytest.raises(StoreCorrupt, match=r"must (hold|be a plain file)") as caught:
        open_installed(directory, digest).check()
    assert "Install the bundle again" in caught.value.hint


@pytest.mark.parametrize("name", [MANIFEST_NAME, bundles.MODEL, "golden.npz"])
def test_every_changed_byte_of_an_installed_file_is_refused(
    installed: tuple[Path, str], name: str
) -> None:
    directory, digest = installed
    target = directory / name
    target.chmod(0o644)
    data = target.read_bytes()
    for offset in range(0, len(data), 7):
        target.write_bytes(data[:offset] + bytes([data[offset] ^ 0x10]) + data[offset + 1 :])
        with pytest.raises(DigestMismatch):
            open_installed(directory, digest).check()


def test_a_package_under_another_digest_is_refused_naming_both(
    installed: tuple[Path, str],
) -> None:
    directory, digest = installed
    with pytest.raises(DigestMismatch) as caught:
        open_installed(directory, "0" * 64)
    assert caught.value.values == {"expected": "0" * 64, "found": digest}


def test_an_installed_signature_is_not_hashed_but_still_verifies(
    installed: tuple[Path, str],
) -> None:
    """The recorded digest covers the manifest, which covers the rest."""
    directory, digest = installed
    signature = directory / SIGNATURE_NAME
    signature.chmod(0o644)
    signature.write_bytes(b"{}")
    open_installed(directory, digest).check()
