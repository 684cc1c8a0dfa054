"""Ways to bring about each error over a bundle: damaged, forged, or made for somebody else."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

import bent
import bundles
import sticks
import weighty
from mishaps import HEADER, Scene, brings_about

from edge_runtime.contract import errors
from edge_runtime.contract.bundle.archive import INDEX_NAME, write_layout
from edge_runtime.contract.bundle.manifest import MANIFEST_NAME, SIGNATURE_NAME
from edge_runtime.contract.bundle.oci import Part


def install(scene: Scene, parts: Sequence[Part]) -> list[str]:
    """Write a bundle of these parts and return the command that installs it."""
    return ["install", str(bent.one(scene.path / "bent.oci.tar", parts))]


@brings_about(errors.BundleUnreadable)
def no_such_bundle(scene: Scene) -> list[str]:
    return ["install", str(scene.path / "none.oci.tar")]


@brings_about(errors.BundleUnreadable)
def directory_that_is_no_bundle(scene: Scene) -> list[str]:
    return ["verify", str(scene.path)]


@brings_about(errors.NoBundleFound)
def stick_without_a_bundle(scene: Scene) -> list[str]:
    stick = scene.path / "usb"
    stick.mkdir()
    (stick / "holiday.tar").write_bytes(b"x" * 512)
    (stick / "._loan-1.5.0.oci.tar").write_bytes(b"x" * 4096)
    return ["install", str(stick)]


@brings_about(errors.RefAmbiguous)
def stick_with_two_models(scene: Scene) -> list[str]:
    stick = scene.path / "usb"
    stick.mkdir()
    for name in ("loan", "other"):
        sticks.release(stick / f"{name}.oci.tar", "1.5.0", name=name)
    return ["install", str(stick)]


@brings_about(errors.ArchiveCorrupt)
def bundle_cut_short(scene: Scene) -> list[str]:
    data = scene.bundle().read_bytes()
    return ["install", str(scene.write("cut.oci.tar", data[: len(data) // 2]))]


@brings_about(errors.ArchiveCorrupt)
def file_that_is_no_tar(scene: Scene) -> list[str]:
    return ["verify", str(scene.write("text.oci.tar", "hello"))]


@brings_about(errors.JsonMalformed)
def index_that_is_no_json(scene: Scene) -> list[str]:
    entries = bundles.entries(scene.bundle()) | {INDEX_NAME: b"{]"}
    write_layout(scene.path / "bent.oci.tar", entries.items())
    return ["install", str(scene.path / "bent.oci.tar")]


@brings_about(errors.ManifestInvalid)
def manifest_of_another_form(scene: Scene) -> list[str]:
    unsigned = [Part(MANIFEST_NAME, b"{}"), *bundles.parts(bundles.manifest())[1:]]
    return install(scene, bundles.signed(unsigned))


@brings_about(errors.GraphRefused)
def graph_that_reads_another_file(scene: Scene) -> list[str]:
    bent_graph = weighty.graph(location="../../../trust/keys/x.pem")
    return ["install", str(weighty.packed(scene.path / "bent.oci.tar", bent_graph))]


@brings_about(errors.BlobMissing)
def file_absent(scene: Scene) -> list[str]:
    entries = bundles.entries(scene.bundle())
    del entries[max(entries, key=lambda name: len(entries[name]))]
    write_layout(scene.path / "bent.oci.tar", entries.items())
    return ["verify", str(scene.path / "bent.oci.tar")]


@brings_about(errors.DigestMismatch)
def file_changed(scene: Scene) -> list[str]:
    entries = bundles.entries(scene.bundle())
    name = max(entries, key=lambda name: len(entries[name]))
    entries[name] = entries[name][:-1] + b"?"
    write_layout(scene.path / "bent.oci.tar", entries.items())
    return ["install", str(scene.path / "bent.oci.tar")]


@brings_about(errors.DigestMismatch)
def installed_file_changed(scene: Scene) -> list[str]:
    file = next(scene.store.rglob("float32.onnx"))
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


@brings_about(errors.FilesMismatch)
def file_that_nobody_signed(scene: Scene) -> list[str]:
    return install(scene, [*bent.honest(), Part("extra.bin", b"x")])


@brings_about(errors.SignatureMissing)
def unsigned_bundle(scene: Scene) -> list[str]:
    return install(scene, bundles.parts(bundles.manifest()))


@brings_about(errors.SignatureInvalid)
def signature_over_something_else(scene: Scene) -> list[str]:
    parts = bent.honest()
    signature = bent.named(parts, SIGNATURE_NAME).data.replace(b'"sig":"M', b'"sig":"N')
    return install(
        scene, [*bent.without(parts, SIGNATURE_NAME), Part(SIGNATURE_NAME, signature)]
    )


@brings_about(errors.SignerUntrusted)
def signed_by_a_stranger(scene: Scene) -> list[str]:
    return scene.install(signer=bundles.STRANGER)


@brings_about(errors.NoTrustedKey)
def nobody_is_trusted(scene: Scene) -> list[str]:
    shutil.rmtree(scene.store / "trust")
    return scene.install()


@brings_about(errors.NoTrustedKey)
def nobody_is_trusted_any_more(scene: Scene) -> list[str]:
    next((scene.store / "trust/keys").iterdir()).unlink()
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


@brings_about(errors.RuntimeTooOld)
def made_for_a_newer_runtime(scene: Scene) -> list[str]:
    return scene.install(min_runtime="99.0.0")


@brings_about(errors.MustUnderstand)
def made_with_a_feature_unknown_here(scene: Scene) -> list[str]:
    return scene.install(must_understand=("time-travel",))


@brings_about(errors.MixedBundle)
def targets_of_two_releases(scene: Scene) -> list[str]:
    images = [
        *bundles.images(["arm64-cpu"]),
        *bundles.images(["x86-64-cpu"], version="1.5.0", release=1_005_000),
    ]
    return ["install", str(bent.write(scene.path / "bent.oci.tar", images))]


@brings_about(errors.VersionConflict)
def other_content_under_an_installed_version(scene: Scene) -> list[str]:
    return scene.install(name="loan", version="1.4.0", description="Changed.")


@brings_about(errors.ReleaseTooOld)
def older_release_after_the_record_was_lost(scene: Scene) -> list[str]:
    for copy in (scene.store / "models" / "loan").glob("state-*.json"):
        copy.unlink()
    return scene.install(name="loan", version="1.3.0", release=1_003_000)


@brings_about(errors.KeyInvalid)
def key_that_is_none(scene: Scene) -> list[str]:
    return ["trust", "add", str(scene.write("release.pub", "hello"))]


@brings_about(errors.KeyInvalid)
def private_key(scene: Scene) -> list[str]:
    return ["trust", "add", str(scene.write("k", "-----BEGIN PRIVATE KEY-----\nx\n"))]


@brings_about(errors.KeyInvalid)
def key_file_absent(scene: Scene) -> list[str]:
    return ["verify", str(scene.bundle()), "--trust", str(scene.path / "none.pub")]


@brings_about(errors.KeyInvalid)
def fingerprint_of_no_key(scene: Scene) -> list[str]:
    del scene
    return ["trust", "remove", "0123456789abcdef"]
