"""The power is cut before every call by which an installation changes the disk.

No kernel module is needed: the store lies on a loop-mounted image, strace kills the installer
at its n-th call of one kind, and the image is copied while it is still mounted. Each point
gives two disks: ``raw``, where nothing unsynced survives, and ``jnl``, where an unrelated fsync
has committed the journal and only delayed data is lost.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_runtime.contract.errors import EdgepackError, NoSpace
from edge_runtime.state.store import Store

# A package's content follows from its digest, so that whoever checks a disk knows it. "done" is
# the acknowledgement: from then on nothing may be lost.
INSTALLER = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from edge_runtime.state.store import Store

def install(root, digest):
    def fill(directory):
        (directory / "variants").mkdir()
        (directory / "variants" / "model.onnx").write_bytes(digest.encode() * 2000)
        (directory / "manifest.json").write_bytes(digest.encode())
    manifest = SimpleNamespace(name="fraud", version=digest[0], release=int(digest[0]))
    with Store(root, "named by the test").writing() as writer:
        writer.stage("fraud", digest, fill)
        writer.activate(manifest, digest)

if __name__ == "__main__":
    if sys.argv[3] == "careless":
        os.fsync = lambda descriptor: None
    install(Path(sys.argv[1]), sys.argv[2])
    print("done", flush=True)
"""
OLD, NEW = "1" * 64, "2" * 64

# The two names of a call are those of different architectures.
CHANGING = (
    *("openat", "write", "fsync", "mkdir", "mkdirat", "rename", "renameat", "unlink"),
    *("unlinkat", "rmdir", "chmod", "fchmod", "fchmodat", "chown", "fchownat"),
)
NEEDED = ("strace", "mkfs.ext4", "mount", "umount")


def command(*words: str | Path) -> None:
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@dataclass(frozen=True)
class Bench:
    """A place for images.

    Attributes:
        directory: where everything lies.
        image: a disk on which the old version is installed.
        installer: the script that installs.
        install: the same as a function.
    """

    directory: Path
    image: Path
    installer: Path
    install: Callable[[Path, str], None]

    @contextmanager
    def mounted(self, image: Path) -> Iterator[Path]:
        """Mount a disk so that the kernel commits nothing by itself meanwhile."""
        point = self.directory / "mounted"
        command("mount", "-o", "loop,commit=600", image, point)
        try:
            yield point / "store"
        finally:
            command("umount", point)

    def run(
        self, store: Path, tracer: tuple[str, ...] = (), digest: str = NEW, how: str = "careful"
    ) -> subprocess.CompletedProcess[str]:
        """Run the installer, under a tracer or alone."""
        environ = {
            **os.environ,
            "PYTHONPATH": str(Path(__file__).parents[3]),
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",
        }
        words = [*tracer, sys.executable, "-B", str(self.installer), str(store), digest, how]
        return subprocess.run(words, env=environ, capture_output=True, text=True, check=False)

    def cut(self, tracer: tuple[str, ...] = (), how: str = "careful") -> Iterator[str]:
        """Install until the tracer kills, cut the power, and yield what each disk has lost."""
        image, raw, journal = (self.directory / f"{name}.img" for name in ("cut", "raw", "jnl"))
        shutil.copyfile(self.image, image)
        with self.mounted(image) as store:
            done = self.run(store, tracer, how=how)
            shutil.copyfile(image, raw)
            self._commit(store.with_name("unrelated"))
            shutil.copyfile(image, journal)
        assert done.returncode in (0, -9), done.stderr
        for disk in (raw, journal):
            found = self._lost(disk, acknowledged=done.stdout == "done\n")
            if found:
                yield f"{disk.stem}: {found}"

    def _commit(self, path: Path) -> None:
        path.write_bytes(b"x")
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)

    def _lost(self, disk: Path, *, acknowledged: bool) -> str:
        """Look at a disk after the cut; return what is wrong with it."""
        with self.mounted(disk) as root:
            try:
                served = served_digest(root)
                self.install(root, NEW)
                following = served_digest(root)
            except (EdgepackError, AssertionError, OSError) as error:
                return str(error)
        if acknowledged and served != NEW:
            return "an acknowledged installation is gone"
        return "" if following == NEW else "the next installation changed nothing"


def served_digest(root: Path) -> str:
    """Return the version that serves, after having checked each of its bytes."""
    model = Store(root, "named by the test").model("fraud")
    assert model.read().degraded == ""
    (digest,) = model.choices()
    directory = model.version(digest)
    for name, times in (("manifest.json", 1), ("variants/model.onnx", 2000)):
        assert (directory / name).read_bytes() == digest.encode() * times, f"{name} is torn"
    return digest


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    absent = [tool for tool in NEEDED if shutil.which(tool) is None]
    if os.geteuid() != 0 or absent:
        pytest.skip(f"cutting the power takes root and {', '.join(NEEDED)}; absent: {absent}")
    directory = tmp_path_factory.mktemp("power")
    (directory / "mounted").mkdir()
    installer = directory / "installer.py"
    installer.write_text(INSTALLER, encoding="utf-8")
    install = runpy.run_path(str(installer), run_name="installer")["install"]
    bench = Bench(directory, directory / "old.img", installer, install)
    bench.image.touch()
    os.truncate(bench.image, 8 << 20)
    command("mkfs.ext4", "-q", "-F", "-b", "1024", bench.image)
    try:
        with bench.mounted(bench.image) as store:
            install(store, OLD)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"cutting the power takes loop mounts: {error.stderr.decode().strip()}")
    return bench


@pytest.fixture(scope="module")
def points(bench: Bench) -> list[tuple[str, int]]:
    """Every call that changes the store: its name, and its number among calls of that name."""
    log = bench.directory / "trace"
    calls = ",".join(f"?{name}" for name in CHANGING)
    image = bench.directory / "recorded.img"
    shutil.copyfile(bench.image, image)
    with bench.mounted(image) as store:
        bench.run(store, ("strace", "-y", "-o", str(log), "-e", f"trace={calls}"))
    seen: Counter[str] = Counter()
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        name, bracket, rest = line.partition("(")
        if not bracket:
            continue
        seen[name] += 1
        if str(store) in rest and (name != "openat" or "O_CREAT" in rest):
            found.append((name, seen[name]))
    return found


def test_a_cut_at_any_call_leaves_a_version_that_serves(
    bench: Bench, points: list[tuple[str, int]]
) -> None:
    assert len(points) > 20, points
    lost = [
        f"{name} {number}, {found}"
        for name, number in points
        for found in bench.cut(("strace", "-e", f"inject={name}:signal=KILL:when={number}"))
    ]
    assert lost == []


def test_a_cut_after_the_acknowledgement_loses_nothing(bench: Bench) -> None:
    assert list(bench.cut()) == []


def test_an_installer_that_syncs_nothing_is_caught_on_both_disks(bench: Bench) -> None:
    assert [found.split(":")[0] for found in bench.cut(how="careless")] == ["raw", "jnl"]


def test_a_disk_that_is_full_leaves_the_old_version_and_no_trace(bench: Bench) -> None:
    def fill(directory: Path) -> None:
        (directory / "model.onnx").write_bytes(b"x" * (16 << 20))

    image = bench.directory / "full.img"
    shutil.copyfile(bench.image, image)
    with bench.mounted(image) as root:
        before = sorted(root.rglob("*"))
        with Store(root, "named by the test").writing() as writer, pytest.raises(NoSpace):
            writer.stage("fraud", NEW, fill)
        assert sorted(root.rglob("*")) == before
        assert served_digest(root) == OLD
        bench.install(root, NEW)
        assert served_digest(root) == NEW
