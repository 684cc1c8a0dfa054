"""Ways to bring about each error of the device: rows and machines that are not in order."""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import bundles
import devices
import numpy as np
import onnx
import pytest

from edge_runtime.contract import errors, strictjson
from edge_runtime.contract.errors import EdgepackError
from edge_runtime.contract.npz import write_npz

LOAN = devices.loan()
HEADER = "income (k€),visits,plan\n"
CHECKOUT = Path(errors.__file__).parents[3]


class Scene:
    """A directory in which one error can be brought about.

    Attributes:
        path: the directory.
        store: a store that trusts the test key and serves ``loan`` 1.4.0, which is proven.
        before: the program, with its arguments, that the command is run by; empty where the
            test's own process may run it.
        environment: variables that the command is run with.
        stack: what has to be undone after the command.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = path / "store"
        self.before: list[str] = []
        self.environment: dict[str, str] = {}
        self.stack = ExitStack()

    def write(self, name: str, data: bytes | str) -> Path:
        path = self.path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def predict(self, name: str, data: bytes | str, output: str = "answers.csv") -> list[str]:
        path = self.write(name, data)
        return ["predict", "loan", "--input", str(path), "--output", str(self.path / output)]

    def bundle(self, subject: devices.Subject = LOAN, **changes: object) -> Path:
        return devices.packed(self.path / "next.oci.tar", subject, **changes)

    def install(self, **changes: object) -> list[str]:
        changes = {"version": "1.5.0", "release": 1_005_000, **changes}
        return ["install", str(self.bundle(**changes))]


Act = Callable[[Scene], list[str]]
ACTS: dict[str, tuple[Act, ...]] = {}


def brings_about(error: type[EdgepackError]) -> Callable[[Act], Act]:
    """Register a function that prepares a scene and returns the command that must fail."""

    def register(act: Act) -> Act:
        ACTS[error.code] = (*ACTS.get(error.code, ()), act)
        return act

    return register


# --- the command line and its rows ---------------------------------------------------------


@brings_about(errors.UsageError)
def no_such_command(scene: Scene) -> list[str]:
    return ["instal", str(scene.path)]


@brings_about(errors.UsageError)
def format_unknown(scene: Scene) -> list[str]:
    return scene.predict("rows.txt", HEADER)


@brings_about(errors.InputUnreadable)
def no_such_rows(scene: Scene) -> list[str]:
    return ["predict", "--input", str(scene.path / "none.csv"), "--output", "a.csv"]


@brings_about(errors.InputUnreadable)
def rows_in_another_encoding(scene: Scene) -> list[str]:
    return scene.predict("rows.csv", f"{HEADER}1,1,".encode() + "gö\n".encode("latin-1"))


@brings_about(errors.TableMalformed)
def row_too_short(scene: Scene) -> list[str]:
    return scene.predict("rows.csv", f"{HEADER}1,1\n")


@brings_about(errors.TableMalformed)
def json_lines_that_are_none(scene: Scene) -> list[str]:
    return scene.predict("rows.jsonl", "{]\n")


@brings_about(errors.TableMalformed)
def npz_that_is_none(scene: Scene) -> list[str]:
    return scene.predict("rows.npz", b"PK\x03\x04")


@brings_about(errors.InputName)
def column_absent(scene: Scene) -> list[str]:
    return scene.predict("rows.csv", "income (k€),plan\n1,gold\n")


@brings_about(errors.InputDtype)
def tensor_of_another_type(scene: Scene) -> list[str]:
    return scene.predict("rows.npz", write_npz(LOAN.feed | {"income": np.ones((3, 1))}))


@brings_about(errors.InputShape)
def tensor_of_another_shape(scene: Scene) -> list[str]:
    wide = np.ones((3, 2), np.float32)
    return scene.predict("rows.npz", write_npz(LOAN.feed | {"income": wide}))


@brings_about(errors.InputValue)
def cell_that_is_no_number(scene: Scene) -> list[str]:
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\nmany,1,gold\n")


@brings_about(errors.InputMissing)
def cell_empty_where_it_may_not_be(scene: Scene) -> list[str]:
    return scene.predict("rows.csv", f"{HEADER}1,,gold\n")


@brings_about(errors.OutputUnwritable)
def no_such_directory(scene: Scene) -> list[str]:
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n", "none/answers.csv")


@brings_about(errors.OutputUnwritable)
def output_is_a_directory(scene: Scene) -> list[str]:
    (scene.path / "answers").mkdir()
    return [
        *scene.predict("rows.csv", f"{HEADER}1,1,gold\n", "answers"),
        "--output-format",
        "csv",
    ]


# --- the device ----------------------------------------------------------------------------


@brings_about(errors.NoMatchingTarget)
def made_for_another_architecture(scene: Scene) -> list[str]:
    path = bundles.bundle(scene.path / "other.oci.tar", [devices.ELSEWHERE])
    return ["install", str(path)]


def without_the_engine(scene: Scene) -> None:
    """Let the command find every library but the engine."""
    place = scene.path / "libraries"
    place.mkdir()
    for name in ("numpy", "cryptography", "cffi", "_cffi_backend", "psutil"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        whole = origin.parent if origin.stem == "__init__" else origin
        (place / whole.name).symlink_to(whole)
    shared = Path(np.__file__).parents[1] / "numpy.libs"
    if shared.is_dir():
        (place / shared.name).symlink_to(shared)
    scene.before = [sys.executable, "-S"]
    scene.environment["PYTHONPATH"] = os.pathsep.join(map(str, (CHECKOUT, place)))


@brings_about(errors.EngineMissing)
def no_engine_at_install(scene: Scene) -> list[str]:
    without_the_engine(scene)
    return scene.install()


@brings_about(errors.EngineMissing)
def no_engine_at_load(scene: Scene) -> list[str]:
    without_the_engine(scene)
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


@brings_about(errors.EngineConflict)
def two_engines(scene: Scene) -> list[str]:
    facts = scene.path / "second/onnxruntime_gpu-1.20.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Name: onnxruntime-gpu\nVersion: 1.20.0\n")
    scene.before = [sys.executable]
    scene.environment["PYTHONPATH"] = os.pathsep.join(map(str, (CHECKOUT, facts.parent)))
    return scene.install()


@brings_about(errors.EngineTooOld)
def made_for_a_newer_engine(scene: Scene) -> list[str]:
    target = devices.manifest(LOAN, {"float32": b""}).target
    return scene.install(target=replace(target, min_engine="99.0"))


@brings_about(errors.ExecutionProviderMissing)
def made_for_an_accelerator(scene: Scene) -> list[str]:
    variant = devices.variant("float32", LOAN, "CUDAExecutionProvider")
    return scene.install(variants=(variant,))


@brings_about(errors.ModelLoadFailed)
def model_that_is_none(scene: Scene) -> list[str]:
    answers = {"float32": devices.answers_of(LOAN)}
    path = scene.bundle(models={"float32": devices.unopenable()}, answers=answers)
    rows = scene.write("rows.csv", HEADER)
    return ["predict", str(path), "--input", str(rows), "--output", "-"]


@brings_about(errors.PredictionFailed)
def value_that_the_graph_cannot_take(scene: Scene) -> list[str]:
    path = devices.packed(scene.path / "lookup.oci.tar", devices.lookup(), name="lookup")
    rows = scene.write("rows.npz", write_npz({"index": np.array([99])}))
    return ["predict", str(path), "--input", str(rows), "--output", "-"]


@brings_about(errors.GoldenMismatch)
def answers_that_differ_on_this_chip(scene: Scene) -> list[str]:
    answers = devices.answers_of(LOAN)
    answers["label"] = answers["label"][::-1]
    return scene.install(answers={"float32": answers})


@brings_about(errors.TrialFailed)
def model_that_does_not_load_at_install(scene: Scene) -> list[str]:
    answers = {"float32": devices.answers_of(LOAN)}
    return scene.install(models={"float32": devices.unopenable()}, answers=answers)


@brings_about(errors.NotInstalled)
def no_such_model(scene: Scene) -> list[str]:
    return ["status", "fruad", "--store", str(scene.store)]


@brings_about(errors.NotInstalled)
def no_such_version(scene: Scene) -> list[str]:
    rows = scene.write("rows.csv", HEADER)
    return ["predict", "loan@9.9.9", "--input", str(rows), "--output", "-"]


@brings_about(errors.RefAmbiguous)
def two_models_and_none_named(scene: Scene) -> list[str]:
    shutil.copytree(scene.store / "models/loan", scene.store / "models/other")
    rows = scene.write("rows.csv", HEADER)
    return ["predict", "--input", str(rows), "--output", "-"]


@brings_about(errors.StoreUnwritable)
def store_that_cannot_be_made(scene: Scene) -> list[str]:
    place = scene.write("file", "in the way") / "store"
    return ["--store", str(place), "trust", "add", str(devices.trust_file(scene.path))]


@brings_about(errors.StoreUnreadable)
def store_that_is_a_file(scene: Scene) -> list[str]:
    return ["--store", str(scene.write("file", "in the way")), "status"]


@brings_about(errors.StoreUnreadable)
def no_store_named_and_no_home(scene: Scene) -> list[str]:
    if Path("/var/lib/edge-runtime").is_dir():
        pytest.skip("this machine has a store")
    scene.before = [sys.executable]
    scene.environment |= {"HOME": "", "EDGE_STORE": "", "NO_STORE": "1"}
    return ["status"]


@brings_about(errors.StoreNewer)
def store_written_by_a_newer_runtime(scene: Scene) -> list[str]:
    rest = strictjson.dumps({"schema": "edgepack.state/2", "state": {}})[1:]
    data = b'{"crc32":"%08x",%s' % (zlib.crc32(rest), rest)
    for name in ("state-a.json", "state-b.json"):
        file = scene.store / "models/loan" / name
        file.unlink()
        file.write_bytes(data)
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


@brings_about(errors.StoreCorrupt)
def stranger_among_the_keys(scene: Scene) -> list[str]:
    (scene.store / "trust/keys/._release.pem").write_bytes(b"\0")
    return scene.install()


@brings_about(errors.StoreCorrupt)
def stranger_among_the_installed_files(scene: Scene) -> list[str]:
    (next((scene.store / "models/loan/versions").iterdir()) / "more.onnx").write_bytes(b"x")
    return scene.predict("rows.csv", f"{HEADER}1,1,gold\n")


def padded(model: bytes, size: int) -> bytes:
    """Return the same graph as a file that is larger by so many bytes."""
    larger = onnx.load_model_from_string(model)
    larger.doc_string = "x" * size
    return bytes(larger.SerializeToString(deterministic=True))


@brings_about(errors.NoSpace)
def disk_too_small(scene: Scene) -> list[str]:
    """Put the store on a file system of its own, in a name space of the command's own."""
    subject = replace(LOAN, model=padded(LOAN.model, 1 << 20))
    mount = f"mount -t tmpfs -o size=400k none {scene.path}/small"
    (scene.path / "small").mkdir()
    copy = f"cp -a {scene.store} {scene.path}/small/store"
    probe = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mount], capture_output=True, check=False
    )
    if probe.returncode:
        pytest.skip("this machine gives no name spaces to its users")
    # The name space ends with the command, so what it left is compared inside.
    compared = f"diff -r --no-dereference {scene.store} {scene.path}/small/store >&2"
    script = f'{mount} && {copy} && {{ "$@"; code=$?; {compared} && exit $code; }}'
    scene.before = ["unshare", "-Urm", "sh", "-c", script, "sh", sys.executable]
    store = ["--store", str(scene.path / "small/store")]
    return [*store, *scene.install(subject=subject)]


@brings_about(errors.StoreBusy)
def another_writer(scene: Scene) -> list[str]:
    lock = scene.stack.enter_context((scene.store / "lock").open("w"))
    fcntl.flock(lock, fcntl.LOCK_EX)
    return scene.install()
