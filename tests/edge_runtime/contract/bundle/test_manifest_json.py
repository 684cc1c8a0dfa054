"""manifest.json: what is rendered reads back, and what cannot be is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bundles
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_runtime import __version__
from edge_runtime.contract.bundle.manifest import (
    EXTERNAL_WEIGHTS,
    MAX_FILES,
    FileEntry,
    Manifest,
    is_bundle_path,
    is_name,
    is_version,
)
from edge_runtime.contract.bundle.manifest_json import parse_manifest
from edge_runtime.contract.bundle.manifest_render import render_manifest
from edge_runtime.contract.errors import (
    EdgepackError,
    JsonMalformed,
    ManifestInvalid,
    MustUnderstand,
    RuntimeTooOld,
)
from edge_runtime.contract.values import Column

SOUND = json.loads(bundles.parts(bundles.manifest())[0].data)


def sound() -> dict[str, Any]:
    """Return a sound document, to be edited."""
    found: dict[str, Any] = json.loads(json.dumps(SOUND))
    return found


def ours(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["additional_metadata"]["edgepack"]
    return found


def parse(document: dict[str, Any]) -> Manifest:
    return parse_manifest(json.dumps(document).encode())


# --- round trips ---------------------------------------------------------------------------


def test_a_rendered_manifest_reads_back_the_same() -> None:
    manifest = parse(SOUND)
    assert parse_manifest(render_manifest(manifest)) == manifest
    assert render_manifest(manifest) == bundles.parts(bundles.manifest())[0].data


texts = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)
digests = st.from_regex(r"[0-9a-f]{64}", fullmatch=True)


@given(
    name=names,
    version=st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,62}", fullmatch=True),
    release=st.integers(1, (1 << 63) - 1),
    description=texts,
    labels=st.lists(texts | st.integers() | st.booleans(), max_size=4),
    columns=st.lists(texts, max_size=4, unique=True),
    tokens=st.lists(texts, max_size=3),
    sizes=st.lists(st.integers(0, 1 << 40), max_size=3),
    digest=digests,
)
def test_any_manifest_reads_back_the_same(**values: Any) -> None:
    plain = parse(SOUND)
    interface = replace(
        plain.interface,
        labels=tuple(values["labels"]),
        columns=tuple(
            Column(column, "float", "features", index, "allow")
            for index, column in enumerate(values["columns"])
        ),
        table=replace(plain.interface.table, missing_tokens=tuple(values["tokens"])),
    )
    more = tuple(
        FileEntry(f"more/{number}", size, values["digest"])
        for number, size in enumerate(values["sizes"])
    )
    manifest = replace(
        plain,
        name=values["name"],
        version=values["version"],
        release=values["release"],
        description=values["description"],
        interface=interface,
        files=(*plain.files, *more),
    )
    assert parse_manifest(render_manifest(manifest)) == manifest


def test_keys_that_are_not_known_are_passed_over() -> None:
    document = sound()
    ours(document)["new"] = {"a": 1}
    ours(document)["target"]["new"] = 1
    document["additional_metadata"]["another tool"] = {}
    assert parse(document) == parse(SOUND)


# --- compatibility -------------------------------------------------------------------------


def test_a_newer_format_is_refused_before_anything_else_is_read() -> None:
    document = sound()
    document["additional_metadata"]["edgepack"] = {
        "format": 2,
        "min_runtime": "9.0",
        "must_understand": [],
        "files": "in another form",
    }
    with pytest.raises(RuntimeTooOld, match=r"has format 2 and needs edge-runtime 9\.0"):
        parse(document)


def test_a_newer_runtime_that_is_needed_is_named_beside_this_one() -> None:
    document = sound()
    ours(document)["min_runtime"] = "999.1"
    with pytest.raises(RuntimeTooOld) as caught:
        parse(document)
    assert caught.value.values == {"expected": "999.1", "found": __version__}


def test_this_very_version_is_new_enough() -> None:
    document = sound()
    ours(document)["min_runtime"] = __version__
    assert parse(document).min_runtime == __version__


@pytest.mark.parametrize("needed", ["", "next", "v1", "1 ", "1" * 100, 1, None])
def test_a_minimum_that_cannot_be_compared_is_refused(needed: Any) -> None:
    document = sound()
    ours(document)["min_runtime"] = needed
    with pytest.raises(ManifestInvalid, match="min_runtime"):
        parse(document)


def test_a_feature_that_is_not_understood_is_refused_by_name() -> None:
    document = sound()
    ours(document)["must_understand"] = ["encryption", "packed-weights"]
    with pytest.raises(MustUnderstand, match="depends on encryption, packed-weights, "):
        parse(document)


# --- fields --------------------------------------------------------------------------------


def at(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Return an edit of one value: ``/a/b`` from the top, ``a/b`` in our own object."""

    def edit(document: dict[str, Any]) -> None:
        place: Any = document if path.startswith("/") else ours(document)
        *parents, last = (
            int(key) if key.isdigit() else key for key in path.strip("/").split("/")
        )
        for key in parents:
            place = place[key]
        if value is GONE:
            del place[last]
        else:
            place[last] = value

    return edit


GONE = object()
VARIANT = "/components/model/variants/float32"
FILES = SOUND["additional_metadata"]["edgepack"]["files"]
COLUMN = {"name": "a", "kind": "float", "input": "features", "index": 0, "missing": "allow"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("/package_name", "Tiny"),
        ("/package_name", "../x"),
        ("/package_name", ""),
        ("/package_version", "1.4.0+local"),
        ("/package_version", "v" * 64),
        ("/package_version", 1),
        ("/description", None),
        ("/components", []),
        ("/components/model", GONE),
        ("/additional_metadata", GONE),
        ("/additional_metadata/edgepack", []),
        ("/components/model/variants/other", {}),
        (f"{VARIANT}/variant_directory", "elsewhere"),
        (f"{VARIANT}/ep", None),
        (f"{VARIANT}/executor_info/ort/model_file", "../golden.npz"),
        (f"{VARIANT}/executor_info/ort/model_file", "/variants/float32.onnx"),
        (f"{VARIANT}/executor_info/ort/session_options", {"session.use_env_allocators": "1"}),
        (f"{VARIANT}/executor_info/ort/session_options", {"session.disable_prepacking": 1}),
        (f"{VARIANT}/executor_info/ort/provider_options", {"backend_path": "x.so"}),
        (f"{VARIANT}/executor_info", GONE),
        (f"{VARIANT}/additional_metadata/edgepack/precision", GONE),
        (f"{VARIANT}/additional_metadata/edgepack/tolerances", {}),
        (f"{VARIANT}/additional_metadata/edgepack/tolerances/other", {"rtol": 0, "atol": 0}),
        (f"{VARIANT}/additional_metadata/edgepack/tolerances/label", {"rtol": 0}),
        (f"{VARIANT}/additional_metadata/edgepack/tolerances/label", {"rtol": -1, "atol": 0}),
        ("format", 0),
        ("format", "1"),
        ("must_understand", "x"),
        ("release", 0),
        ("release", 1 << 63),
        ("release", 1.0),
        ("target/name", "X86"),
        ("target/os", ""),
        ("target/architecture", "x86 64"),
        ("target/priority", -1),
        ("target/min_engine", "newest"),
        ("target/opset", {"": "18"}),
        ("target/opset", {"": True}),
        ("target/ir", 0),
        ("target/memory_bytes", 0),
        ("target/threads", 0),
        ("target/threads", 1025),
        ("task", "chat"),
        ("inputs", {}),
        ("inputs/0/dtype", "float8"),
        ("inputs/0/dtype", "object"),
        ("inputs/0/shape", [None, -1]),
        ("inputs/0/shape", [None, 1.5]),
        ("inputs/0/shape", [None] * 17),
        ("inputs", [SOUND["additional_metadata"]["edgepack"]["inputs"][0]] * 2),
        ("outputs", [SOUND["additional_metadata"]["edgepack"]["outputs"][0]] * 2),
        ("roles", {"label": "nowhere"}),
        ("labels", [None]),
        ("labels", [[0]]),
        ("columns", [{**COLUMN, "kind": "date"}]),
        ("columns", [{**COLUMN, "input": "nowhere"}]),
        ("columns", [{**COLUMN, "index": -1}]),
        ("columns", [{**COLUMN, "missing": "maybe"}]),
        ("columns", [COLUMN, {**COLUMN, "index": 1}]),
        ("table", {"missing_tokens": [None]}),
        ("ladder", []),
        ("ladder", ["int8"]),
        ("ladder", ["float32", "float32"]),
        ("ladder", ["float32", "a", "b", "c"]),
        ("golden/file", "manifest.json"),
        ("golden/file", "none.npz"),
        ("golden/rows", 0),
        ("golden/synthetic", 1),
        ("provenance", []),
        ("files", []),
        ("files/0/path", "../x"),
        ("files/0/path", "/abs"),
        ("files/0/path", ".hidden"),
        ("files/0/path", "a/../b"),
        ("files/0/path", "a//b"),
        ("files/0/path", "a\\b"),
        ("files/0/path", "-rf"),
        ("files/0/path", "manifest.json"),
        ("files/0/path", "Model.Sig"),
        ("files", [*FILES, {**FILES[0], "path": "readme.MD"}]),
        ("files", [*FILES, {**FILES[0], "path": "readme.md/x"}]),
        ("files/0/path", "manifest.json/x"),
        ("files/0/path", "Variants"),
        ("files/0/path", "x" * 101),
        ("files/0/path", "/".join("x" * 101)),
        ("files/0/size", -1),
        ("files/0/size", (1 << 40) + 1),
        ("files/0/sha256", "AB" * 32),
        ("files/0/sha256", "sha256:" + "a" * 64),
        ("files/0/packed", {"digest": "x"}),
    ],
)
def test_a_field_that_cannot_be_is_refused(path: str, value: Any) -> None:
    document = sound()
    at(path, value)(document)
    with pytest.raises(ManifestInvalid, match=r"must be|must have|has the unknown key"):
        parse(document)


def test_too_many_files_are_refused() -> None:
    document = sound()
    ours(document)["files"] += [
        {"path": f"more/{number}", "size": 0, "sha256": "0" * 64} for number in range(MAX_FILES)
    ]
    with pytest.raises(ManifestInvalid, match=f"a list of at most {MAX_FILES} items"):
        parse(document)


def test_a_manifest_of_many_files_is_read_in_reasonable_time() -> None:
    document = sound()
    ours(document)["files"] += [
        {"path": f"a/b/c/{number}", "size": 0, "sha256": "0" * 64} for number in range(900)
    ]
    assert len(parse(document).files) == 903


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 10_000, b'{"a":1,"a":2}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises((JsonMalformed, ManifestInvalid)):
        parse_manifest(data)


# --- no input raises anything else ---------------------------------------------------------


def places(value: Any, path: str = "") -> list[str]:
    """Return the path of every value in a document."""
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [path, *(place for key, child in items for place in places(child, f"{path}/{key}"))]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=500)
@given(st.sampled_from(places(SOUND)[1:]), json_values | st.just(GONE))
def test_no_field_raises_anything_but_a_typed_error(path: str, value: Any) -> None:
    document = sound()
    at(path, value)(document)
    try:
        manifest = parse(document)
    except EdgepackError:
        return
    assert parse_manifest(render_manifest(manifest)) == manifest


# --- names ---------------------------------------------------------------------------------


@given(st.text(max_size=12))
def test_a_path_that_is_accepted_means_one_file_everywhere(text: str) -> None:
    if is_bundle_path(text):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*", text)


@pytest.mark.parametrize("text", ["", ".", "..", "a/", "/a", "a/.b", "a b", "a\n", "é", "a\0"])
def test_an_odd_path_is_no_path(text: str) -> None:
    assert not is_bundle_path(text)
    assert not is_name(text)
    assert not is_version(text)


def test_the_longest_version_and_target_make_a_tag_that_registries_take() -> None:
    version, target = "1" * 63, "t" * 64
    assert is_version(version)
    assert is_name(target)
    assert not is_version(version + "1")
    assert not is_name(target + "t")
    assert len(f"{version}-{target}") == 128


# --- weights beside a graph ----------------------------------------------------------------


def weighty(*weights: str, files: tuple[str, ...] = ("variants/w.weights",)) -> Manifest:
    plain = parse(SOUND)
    entries = tuple(FileEntry(path, 9, "0" * 64) for path in files)
    variant = replace(plain.variants[0], weights=weights)
    return replace(
        plain,
        variants=(variant,),
        files=(*plain.files, *entries),
        must_understand=(EXTERNAL_WEIGHTS,),
    )


def test_weights_read_back_and_a_graph_that_holds_its_own_has_no_such_key() -> None:
    manifest = weighty("variants/w.weights")
    assert b'"weights":["w.weights"]' in render_manifest(manifest)
    assert parse_manifest(render_manifest(manifest)) == manifest
    assert b'"weights"' not in render_manifest(parse(SOUND))


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (("variants/none.weights",), "a file of the signed table"),
        (("variants/w.weights", "variants/w.weights"), "different names of weights"),
        (("variants/deep/w.weights",), "weights beside it"),
    ],
)
def test_weights_stand_once_in_the_table_and_beside_their_graph(
    weights: tuple[str, ...], words: str
) -> None:
    files = ("variants/w.weights", "variants/deep/w.weights")
    with pytest.raises(ManifestInvalid, match=words):
        parse_manifest(render_manifest(weighty(*weights, files=files)))
