"""The reference tools of each standard accept our bundles, and we accept what they make.

A tool that is missing fails its tests: they are the proof that the formats are the real ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bent
import bundles
import certificates
import host
import numpy as np
import pytest
import shrunk
import trusts
import weighty

import edge_runtime
from edge_runtime.contract.bundle.installed import open_installed
from edge_runtime.contract.bundle.oci import Part
from edge_runtime.contract.bundle.signature import PublicKey, load_trusted
from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.columns import assemble
from edge_runtime.contract.errors import SignerUntrusted
from edge_runtime.engine.session import SessionPlan, open_session
from edge_runtime.runtime import install
from edge_runtime.state.store import Store
from packager.release import sign_bundle, trust_of, write_release
from packager.stages.sign import (
    PRIVATE_NAME,
    PUBLIC_NAME,
    generate_key,
    load_signer,
    read_certification,
)

VERSION = "1.4.0"


def tool(name: str, *, package: str) -> str:
    """Return the path of a program, or fail where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"the reference tool {name} is not installed: apt-get install {package}")
    return found


def run(*command: Path | str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def ran(*command: Path | str, cwd: Path | None = None) -> str:
    """Run a command that must succeed and return what it printed."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.bundle(tmp_path_factory.mktemp("bundle") / "tiny-1.4.0.oci.tar")


@pytest.fixture
def packages(bundle: Path, tmp_path: Path) -> list[tuple[Path, str]]:
    """Every target unpacked, with its digest."""
    found = []
    with bundles.opened(bundle) as verified:
        for package in verified.packages:
            directory = tmp_path / package.manifest.target.name
            package.extract(directory)
            found.append((directory, package.digest))
    return found


# --- OpenSSF Model Signing: python -m model_signing ----------------------------------------


def model_signing(*arguments: Path | str, cwd: Path | None = None) -> Any:
    return run(sys.executable, "-m", "model_signing", *arguments, cwd=cwd)


def verify_by_reference(directory: Path, public_key: Path) -> Any:
    signature = directory / "model.sig"
    return model_signing(
        "verify", "key", "--signature", signature, "--public_key", public_key, directory
    )


@pytest.fixture
def public_key(tmp_path: Path) -> Path:
    path = tmp_path / "release.pub"
    path.write_bytes(bundles.SIGNER.public_key.pem)
    return path


def test_model_signing_verifies_every_unpacked_target(
    packages: list[tuple[Path, str]], public_key: Path
) -> None:
    for directory, _ in packages:
        done = verify_by_reference(directory, public_key)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Verification succeeded" in done.stdout


def test_model_signing_refuses_what_we_refuse(
    packages: list[tuple[Path, str]], public_key: Path, tmp_path: Path
) -> None:
    (first, _), (second, _) = packages
    stranger = tmp_path / "stranger.pub"
    stranger.write_bytes(bundles.STRANGER.public_key.pem)
    assert verify_by_reference(first, stranger).returncode != 0
    (first / "extra").write_text("x")
    assert verify_by_reference(first, public_key).returncode != 0
    (second / "README.md").chmod(0o644)
    (second / "README.md").write_text("changed")
    assert verify_by_reference(second, public_key).returncode != 0


@pytest.mark.parametrize("git", ["--ignore-git-paths", "--no-ignore-git-paths"])
def test_we_verify_what_model_signing_signs(tmp_path: Path, git: str) -> None:
    parts = bundles.parts(bundles.manifest())
    directory = tmp_path / "model"
    for part in parts:
        path = directory / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part.data)
    generate_key(tmp_path / "keys", None)
    done = model_signing(
        "sign",
        "key",
        git,
        "--private_key",
        tmp_path / "keys" / PRIVATE_NAME,
        ".",
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    signature = Part("model.sig", (directory / "model.sig").read_bytes())
    made = bent.one(tmp_path / "b.oci.tar", [parts[0], signature, *parts[1:]])
    key = PublicKey.load((tmp_path / "keys" / PUBLIC_NAME).read_bytes())
    with verify_bundle(made, [key]) as verified:
        verified.check()
        assert verified.packages[0].signer == key.fingerprint


# --- the same by certificates --------------------------------------------------------------


@pytest.fixture
def office(tmp_path: Path) -> Path:
    """A directory with an authority, one below it, a signer's key and its certificate."""
    authority = certificates.root()
    below = certificates.middle(authority)
    signer = certificates.leaf(below)
    for name, issued in (("ca", authority), ("below", below), ("signer", signer)):
        issued.files(tmp_path, name)
    return tmp_path


@pytest.mark.parametrize("pinned", ["ca", "below"])
def test_we_verify_what_model_signing_signs_with_a_certificate(
    office: Path, pinned: str
) -> None:
    parts = bundles.parts(bundles.manifest())
    directory = office / "model"
    for part in parts:
        path = directory / part.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(part.data)
    done = model_signing(
        *("sign", "certificate", "--private_key", office / "signer.key"),
        *("--signing_certificate", office / "signer.pem"),
        *("--certificate_chain", office / "below.pem", "."),
        cwd=directory,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    signature = Part("model.sig", (directory / "model.sig").read_bytes())
    made = bent.one(office / "b.oci.tar", [parts[0], signature, *parts[1:]])
    authority = load_trusted((office / f"{pinned}.pem").read_bytes())
    with verify_bundle(made, [authority]) as verified:
        verified.check()
    with pytest.raises(SignerUntrusted):
        verify_bundle(made, [certificates.root().authority()])


def verify_chain(directory: Path, authority: Path) -> Any:
    signature = directory / "model.sig"
    return model_signing(
        "verify",
        "certificate",
        "--signature",
        signature,
        "--certificate_chain",
        authority,
        directory,
    )


def test_model_signing_verifies_what_we_sign_with_a_certificate(office: Path) -> None:
    images = [bundles.image("x86-64-cpu", bundles.parts(bundles.manifest()))]
    write_release(office / "b.oci.tar", images, None)
    signer = load_signer(office / "signer.key", None)
    above = [office / "signer.pem", office / "below.pem"]
    certification = read_certification(above, office / "ca.pem", signer.public_key)
    sign_bundle(office / "b.oci.tar", signer, certification)
    directory = office / "package"
    with verify_bundle(office / "b.oci.tar", [certification.authority]) as verified:
        verified.packages[0].extract(directory)
    done = verify_chain(directory, office / "ca.pem")
    assert done.returncode == 0, done.stdout + done.stderr
    _, stranger = certificates.root().files(office, "stranger")
    assert verify_chain(directory, stranger).returncode != 0


def test_openssl_prints_the_fingerprint_that_we_name_a_certificate_by(office: Path) -> None:
    program = tool("openssl", package="openssl")
    printed = ran(
        program, "x509", "-in", office / "ca.pem", "-noout", "-fingerprint", "-sha256"
    )
    found = printed.partition("=")[2].strip().replace(":", "").lower()
    assert found == load_trusted((office / "ca.pem").read_bytes()).fingerprint


# --- OCI: skopeo and a registry ------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real registry on the loopback interface, begun and ended here."""
    program = tool("docker-registry", package="docker-registry")
    directory, port = tmp_path_factory.mktemp("registry"), free_port()
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (directory / "registry.yml").write_text(json.dumps(settings))  # JSON is YAML
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "serve", directory / "registry.yml"], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 30
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"no registry: {(directory / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def skopeo(*arguments: Path | str) -> str:
    return ran(tool("skopeo", package="skopeo"), "--insecure-policy", *arguments)


def root_digest(path: Path) -> str:
    """Return the digest of a bundle's own index."""
    listed = json.loads(bundles.entries(path)["index.json"])["manifests"]
    found: str = listed[0]["digest"]
    return found


def outcome(path: Path) -> list[tuple[str, str, str]]:
    with bundles.opened(path) as verified:
        return [
            (package.manifest.target.name, package.digest, package.signer)
            for package in verified.packages
        ]


def test_a_bundle_survives_a_registry_with_its_root_digest(
    bundle: Path, registry: str, tmp_path: Path
) -> None:
    there, back = f"docker://{registry}/tiny:{VERSION}", tmp_path / "back.oci.tar"
    skopeo("copy", "-a", "--dest-tls-verify=false", f"oci-archive:{bundle}:{VERSION}", there)
    raw = skopeo("inspect", "--raw", "--tls-verify=false", there)
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == root_digest(bundle)
    skopeo("copy", "-a", "--src-tls-verify=false", there, f"oci-archive:{back}:{VERSION}")
    assert root_digest(back) == root_digest(bundle)
    assert outcome(back) == outcome(bundle)


def test_a_list_of_trust_that_a_bundle_carries_survives_a_registry(
    bundle: Path, registry: str, tmp_path: Path
) -> None:
    made = trusts.carrying(tmp_path / "made.oci.tar", trusts.sound(7), bundle)
    there, back = f"docker://{registry}/trust:{VERSION}", tmp_path / "back.oci.tar"
    skopeo("copy", "-a", "--dest-tls-verify=false", f"oci-archive:{made}:{VERSION}", there)
    skopeo("copy", "-a", "--src-tls-verify=false", there, f"oci-archive:{back}:{VERSION}")
    assert root_digest(back) == root_digest(made)
    assert trust_of(back) == trusts.sound(7)
    assert outcome(back) == outcome(bundle)


def test_a_bundle_survives_as_a_directory_of_another_tool(bundle: Path, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    skopeo("copy", "-a", f"oci-archive:{bundle}:{VERSION}", f"oci:{layout}:{VERSION}")
    assert outcome_of_directory(layout) == outcome(bundle)


def outcome_of_directory(path: Path) -> list[tuple[str, str, str]]:
    assert path.is_dir()
    return outcome(path)


@pytest.mark.parametrize("target", bundles.TARGETS)
def test_one_target_copied_by_its_tag_is_a_bundle_of_its_own(
    bundle: Path, registry: str, tmp_path: Path, target: str
) -> None:
    there, back = f"docker://{registry}/one:{target}", tmp_path / "one.oci.tar"
    source = f"oci-archive:{bundle}:{VERSION}-{target}"
    skopeo("copy", "--dest-tls-verify=false", source, there)
    skopeo("copy", "--src-tls-verify=false", there, f"oci-archive:{back}:{VERSION}")
    assert outcome(back) == [item for item in outcome(bundle) if item[0] == target]


def test_a_plain_pull_on_x86_takes_the_target_for_it(
    bundle: Path, registry: str, tmp_path: Path
) -> None:
    there, back = f"docker://{registry}/plain:{VERSION}", tmp_path / "plain.oci.tar"
    skopeo("copy", "-a", "--dest-tls-verify=false", f"oci-archive:{bundle}:{VERSION}", there)
    skopeo(
        "--override-arch=amd64",
        "--override-os=linux",
        "copy",
        "--src-tls-verify=false",
        there,
        f"oci-archive:{back}:{VERSION}",
    )
    assert [target for target, _, _ in outcome(back)] == ["x86-64-cpu"]


# --- ONNX Runtime: model packages ----------------------------------------------------------


def stock_session(directory: Path) -> Any:
    """Open a package by ONNX Runtime's own means, knowing nothing of ours."""
    import onnxruntime

    assert hasattr(onnxruntime, "ModelPackageContext"), (
        f"onnxruntime {onnxruntime.__version__} knows no model packages: install 1.32 or newer"
    )
    context = onnxruntime.ModelPackageContext(str(directory))
    options = onnxruntime.ModelPackageOptions(onnxruntime.SessionOptions())
    return context.select_component("model", options).create_session()


def ladder() -> list[Part]:
    """Return the parts of a target with two variants that answer differently."""
    plain = bundles.manifest("x86-64-cpu").variants[0]
    rungs = tuple(
        replace(plain, name=name, model_file=f"variants/{name}.onnx")
        for name in ("best", "next")
    )
    models = {"variants/best.onnx": bundles.graph(3.0), "variants/next.onnx": bundles.graph()}
    files = {**bundles.payload(), **models}
    del files[bundles.MODEL]
    return bundles.signed(bundles.parts(bundles.manifest("x86-64-cpu", variants=rungs), files))


@pytest.mark.parametrize("parts", [bent.honest(), ladder()], ids=["one variant", "a ladder"])
def test_onnxruntime_opens_a_package_and_answers_as_our_first_variant(
    tmp_path: Path, parts: list[Part]
) -> None:
    made, directory = bent.one(tmp_path / "b.oci.tar", parts), tmp_path / "package"
    with bundles.opened(made) as verified:
        verified.packages[0].extract(directory)
        digest = verified.packages[0].digest
    package = open_installed(directory, digest)
    first = package.manifest.variants[0]
    feed = {"features": np.linspace(-2, 2, 12, dtype=np.float32).reshape(4, 3)}
    ours = open_session(package.read(first.model_file), SessionPlan(first.provider)).run(feed)
    stock = stock_session(directory)
    names = [item.name for item in stock.get_outputs()]
    assert names == [spec.name for spec in package.manifest.interface.outputs]
    for name, answer in zip(names, stock.run(names, feed), strict=True):
        np.testing.assert_array_equal(answer, ours[name])
    assert stock.get_providers()[0] == first.provider


def test_onnxruntime_opens_a_package_whose_weights_stand_beside_the_graph(
    tmp_path: Path,
) -> None:
    made, directory = weighty.packed(tmp_path / "b.oci.tar"), tmp_path / "package"
    with bundles.opened(made) as verified:
        verified.packages[0].extract(directory)
    answers = stock_session(directory).run(["y"], weighty.FEED)
    np.testing.assert_allclose(answers[0], weighty.FEED["x"] @ weighty.MATRIX, rtol=1e-5)


# --- packed files, which every tool takes for what they are ---------------------------------


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    return shrunk.write(tmp_path / "tiny-1.4.0.oci.tar", shrunk.parts())


def test_a_packed_file_survives_a_registry_and_comes_back_to_the_byte(
    packed: Path, registry: str, tmp_path: Path
) -> None:
    there, back = f"docker://{registry}/packed:{VERSION}", tmp_path / "back.oci.tar"
    skopeo("copy", "-a", "--dest-tls-verify=false", f"oci-archive:{packed}:{VERSION}", there)
    raw = json.loads(skopeo("inspect", "--raw", "--tls-verify=false", there))
    assert len(raw["manifests"]) == 1
    skopeo("copy", "-a", "--src-tls-verify=false", there, f"oci-archive:{back}:{VERSION}")
    assert root_digest(back) == root_digest(packed)
    assert outcome(back) == outcome(packed)
    with bundles.opened(back) as verified:
        assert verified.packages[0].read(bundles.MODEL) == shrunk.graph()


def test_stock_tar_unpacks_the_blob_of_a_packed_file(packed: Path, tmp_path: Path) -> None:
    with bundles.opened(packed) as verified:
        entry = verified.packages[0].manifest.file(bundles.MODEL)
    assert entry is not None
    (tmp_path / "blob").write_bytes(
        bundles.entries(packed)[f"blobs/sha256/{entry.blob.sha256}"]
    )
    listed = ran(tool("tar", package="tar"), "-tzf", "blob", cwd=tmp_path)
    assert listed == f"{bundles.MODEL}\n"
    ran(tool("tar", package="tar"), "-xzf", "blob", cwd=tmp_path)
    assert (tmp_path / bundles.MODEL).read_bytes() == shrunk.graph()


def test_model_signing_and_onnxruntime_see_plain_files_where_one_was_packed(
    packed: Path, public_key: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "package"
    with bundles.opened(packed) as verified:
        verified.packages[0].extract(directory)
    done = verify_by_reference(directory, public_key)
    assert "Verification succeeded" in done.stdout, done.stderr
    store = Store(tmp_path / "store", "of this test")
    with store.writing() as writer:
        writer.add_key(bundles.SIGNER.public_key.pem)
    digest = install(packed, store).digest
    feed = {"features": np.linspace(-2, 2, 12, dtype=np.float32).reshape(4, 3)}
    for place in (directory, store.model("tiny").version(digest)):
        stock = stock_session(place)
        names = [item.name for item in stock.get_outputs()]
        ours = open_session(bundles.graph(), SessionPlan()).run(feed)
        for name, answer in zip(names, stock.run(names, feed), strict=True):
            np.testing.assert_array_equal(answer, ours[name])


# --- a real build, from the packager through a registry into a store -------------------------


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with rows, keys and the build of a trained network for three targets."""
    directory = tmp_path_factory.mktemp("real")
    host.furnish(directory)
    host.packager(*host.BUILD, "--out", "dist", cwd=directory)
    return directory


def test_model_signing_verifies_every_target_of_a_real_build(
    real: Path, tmp_path: Path
) -> None:
    key = real / "keys" / "release.pub"
    with verify_bundle(
        real / "dist/cancer-1.4.0.oci.tar", [PublicKey.load(key.read_bytes())]
    ) as verified:
        for package in verified.packages:
            directory = tmp_path / package.manifest.target.name
            package.extract(directory)
            done = verify_by_reference(directory, key)
            assert done.returncode == 0, done.stderr
        assert len(verified.packages) == 3


def test_what_came_back_from_a_registry_installs_and_stock_onnxruntime_answers_alike(
    real: Path, registry: str, tmp_path: Path
) -> None:
    there, back = f"docker://{registry}/cancer:{VERSION}", tmp_path / "cancer-1.4.0.oci.tar"
    made = real / "dist" / back.name
    skopeo("copy", "-a", "--dest-tls-verify=false", f"oci-archive:{made}:{VERSION}", there)
    skopeo("copy", "-a", "--src-tls-verify=false", there, f"oci-archive:{back}:{VERSION}")
    store = Store(tmp_path / "store", "of this test")
    with store.writing() as writer:
        writer.add_key((real / "keys" / "release.pub").read_bytes())
    done = install(back, store)
    first = done.manifest.variants[0].name
    rows = host.cancer().drop(columns=host.LABEL)
    with edge_runtime.load("cancer", store=store, variant=first) as model:
        feed = assemble(model.interface.columns, model.interface.inputs, dict(rows))
        ours = model.predict(feed)
    stock = stock_session(store.model("cancer").version(done.digest))
    names = [item.name for item in stock.get_outputs()]
    assert len(ours[names[0]]) == len(rows) > 500
    assert first.startswith("int8")
    for name, answer in zip(names, stock.run(names, feed), strict=True):
        np.testing.assert_array_equal(answer, ours[name])
