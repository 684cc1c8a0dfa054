"""The page on the bundle format shows what is so: examples, limits, fields and code."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bundles
import pytest
import shrunk

from edge_runtime.contract.bundle import archive, manifest, oci, packing, signature
from edge_runtime.contract.errors import BundleError, StoreCorrupt, leaves

ELIDED = "…"


@pytest.fixture(scope="module")
def page(checkout: Path) -> str:
    return (checkout / "docs" / "bundle-format.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.bundle(tmp_path_factory.mktemp("page") / "tiny-1.4.0.oci.tar")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)


def documents(path: Path) -> Iterator[Any]:
    """Yield every JSON document of a bundle, signed statements included."""
    for data in bundles.entries(path).values():
        if data.startswith(b"{"):
            document = json.loads(data)
            yield document
            if "dsseEnvelope" in document:
                yield json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))


def same(shown: Any, real: Any) -> bool:
    """Compare an example with a document; a text that ends with an ellipsis is a beginning."""
    if isinstance(shown, dict) and isinstance(real, dict):
        return list(shown) == list(real) and all(same(shown[key], real[key]) for key in shown)
    if isinstance(shown, list) and isinstance(real, list):
        return len(shown) == len(real) and all(map(same, shown, real))
    if isinstance(shown, str) and shown.endswith(ELIDED):
        return isinstance(real, str) and real.startswith(shown.removesuffix(ELIDED))
    return type(shown) is type(real) and shown == real


def test_every_example_is_a_document_of_the_tiny_bundle(page: str, tiny: Path) -> None:
    real = list(documents(tiny))
    examples = [json.loads(block) for block in blocks(page, "json")]
    assert len(examples) == 8
    for example in examples:
        assert any(same(example, document) for document in real), json.dumps(example)[:200]


def test_the_blobs_of_the_drawing_are_those_of_the_tiny_bundle(page: str, tiny: Path) -> None:
    drawing = blocks(page, "")[0]
    names = "\n".join(bundles.entries(tiny))
    for digest in re.findall(r"\b([0-9a-f]{8})…", drawing):
        assert f"blobs/sha256/{digest}" in names


def test_every_field_of_a_manifest_is_described(page: str, tiny: Path) -> None:
    section = page[page.index("The outer form belongs to") : page.index("## model.sig")]
    described = {name for cell in re.findall(r"`([^`]+)`", section) for name in cell.split(".")}
    document = next(item for item in documents(tiny) if "components" in item)
    ours = document["additional_metadata"]["edgepack"]
    variant = document["components"]["model"]["variants"]["float32"]
    for level in (document, ours, ours["target"], ours["golden"], ours["columns"][0], variant):
        assert level.keys() <= described | {"components", "additional_metadata"}
    for option in manifest.SESSION_OPTIONS | manifest.PROVIDER_OPTIONS:
        assert f"`{option}`" in section
    for name in (*manifest.TASKS, *manifest.UNDERSTOOD):
        assert f"`{name}`" in section
    assert {"packed", "cpu_flags"} <= described
    assert f"`{manifest._CPU_FLAG.pattern}`" in section


def test_every_code_of_the_page_is_an_error_and_every_bundle_error_stands_on_it(
    page: str,
) -> None:
    section = page[page.index("## Verification") : page.index("## Names")]
    # Raised by verification; the others need a store, a key file or a command line.
    elsewhere = {"version-conflict", "release-too-old", "key-invalid", "manifest-invalid"}
    elsewhere |= {"json-malformed", "trust-invalid", "trust-too-old", "interface-changed"}
    elsewhere |= {"no-bundle-found"}
    codes = {leaf.code for leaf in leaves(BundleError)}
    shown = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", section)) - {"oci-layout"}
    assert shown <= codes | {StoreCorrupt.code}
    assert codes - elsewhere <= shown


def test_the_limits_of_the_page_are_those_of_the_code(page: str) -> None:
    section = page[page.index("## Names, paths and limits") : page.index("## Compatibility")]
    rows = dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", section, re.MULTILINE))
    assert rows["archive entries"] == f"{archive._MAX_ENTRIES:,}"
    assert rows["documents that `index.json` leads to, targets included"] == (
        f"{oci._MAX_TARGETS}"
    )
    assert rows["an index or target manifest"] == f"{oci._MAX_DOCUMENT >> 20} MiB"
    assert rows["`model.sig`"] == f"{signature.MAX_SIGNATURE_BYTES >> 20} MiB"
    assert rows["`manifest.json`"] == f"{manifest.MAX_MANIFEST_BYTES >> 20} MiB"
    assert rows["files in a target's table"] == f"{manifest.MAX_FILES}"
    assert rows["variants in a ladder"] == f"{manifest.MAX_VARIANTS}"
    assert rows["lists of `cpu_flags`, and flags in a list"] == f"{manifest.MAX_FLAGS}"
    assert rows["name"] == f"`{manifest._NAME.pattern}`"
    assert rows["version"].startswith(f"`{manifest._VERSION.pattern}`")
    assert f"`{manifest._PATH_PART.pattern}`" in rows["path"]


@pytest.fixture
def reader(page: str, tmp_path: Path) -> Path:
    (code,) = [block for block in blocks(page, "python") if "openssl" in block]
    path = tmp_path / "reader.py"
    path.write_text(code)
    (tmp_path / "release.pub").write_bytes(bundles.SIGNER.public_key.pem)
    return path


def read(reader: Path, bundle: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", reader, bundle, reader.with_name("release.pub")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_what_the_page_says_of_packing_is_what_the_code_does(page: str) -> None:
    section = page[page.index("### Packed files") : page.index("### Weights beside")]
    assert f"at most {manifest.MAX_PACKED_PATH} characters" in section
    assert f"a tenth and {packing._LEAST_GAIN} bytes" in section
    assert f"at level {packing._LEVEL}," in section
    assert packing._SHARE == 0.9
    assert all(f"`{suffix}`" in section for suffix in packing._SUFFIXES)


def test_the_reader_of_the_page_reads_a_bundle(reader: Path, tiny: Path) -> None:
    done = read(reader, tiny)
    assert done.returncode == 0, done.stderr
    for target in bundles.TARGETS:
        assert f"{target} is signed, every byte of it" in done.stdout


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return shrunk.write(tmp_path / "packed-1.4.0.oci.tar", shrunk.parts())


def test_the_reader_of_the_page_reads_packed_files(reader: Path, packed: Path) -> None:
    done = read(reader, packed)
    assert done.returncode == 0, done.stderr
    assert "is signed, every byte of it" in done.stdout


def test_the_reader_of_the_page_refuses_a_changed_byte_of_a_packed_file(
    reader: Path, packed: Path
) -> None:
    blob = next(part.packed for part in shrunk.parts() if part.packed is not None)
    assert isinstance(blob, bytes)
    # A byte of the time, which inflating alone would not notice.
    packed.write_bytes(packed.read_bytes().replace(blob, blob[:5] + b"\1" + blob[6:]))
    assert "AssertionError" in read(reader, packed).stderr


@pytest.mark.parametrize("part", [b"# tiny\n", b'"package_name":"tiny"'])
def test_the_reader_of_the_page_refuses_a_changed_byte(
    reader: Path, tiny: Path, tmp_path: Path, part: bytes
) -> None:
    data = tiny.read_bytes()
    (tmp_path / "changed").write_bytes(data.replace(part, part.swapcase()))
    assert read(reader, tmp_path / "changed").returncode != 0
