"""A device whose power is cut: four versions of a tiny model, and what each of them answers."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from unittest import mock

import bundles
import devices
import numpy as np

from edge_runtime import __main__ as command_line
from edge_runtime import installing, probe, proofs
from edge_runtime.contract.bundle.oci import TargetImage
from edge_runtime.contract.bundle.trust_file import TRUST_NAME
from edge_runtime.contract.tensors import Arrays
from edge_runtime.engine.session import SessionPlan, open_session
from edge_runtime.engine.trial import run_trial
from edge_runtime.engine.verdict import Verdict
from edge_runtime.parser import build_parser
from edge_runtime.state import loads
from packager.stages.pack import write_bundle
from packager.stages.sign import load_signer
from packager.trust import ROOT_NAMES, change_trust, granted, init_trust, revoked

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "tiny"
VERSIONS = {"1.0.0": 7.0, "2.0.0": 5.0, "3.0.0": 3.0, "4.0.0": 2.0}
FILES = {
    "key": "release.pub",
    "rows": "rows.csv",
    "root": "root.pub",
    "trust-1": "trust-1.json",
    "trust-2": "trust-2.json",
}
FEED = {"features": np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)}


def release_of(version: str) -> int:
    """Return the number that only rises."""
    return int(version.partition(".")[0])


class World:
    """Bundles, keys and rows in a directory, and how commands are told of them.

    Args:
        directory: where ``made`` has put them.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @classmethod
    def made(cls, directory: Path) -> World:
        """Make all of it in a new directory."""
        directory.mkdir()
        world = cls(directory)
        devices.trust_file(directory)
        rows = [f"{0.01 * number:.2f},0.5,-0.25" for number in range(120)]
        table = "\n".join(["amount,age,my balance (€)", *rows])
        (directory / FILES["rows"]).write_text(table, encoding="utf-8")
        _trust_lists(directory)
        for version, scale in VERSIONS.items():
            _bundle(world.bundle(version), version, scale)
        return world

    def bundle(self, version: str) -> Path:
        """Return the bundle of a version."""
        return self.directory / f"{NAME}-{version}.oci.tar"

    def words(self, command: Sequence[str]) -> list[str]:
        """Return a command in which ``{…}`` stands for a version's bundle or a file here."""
        found = {f"{{{version}}}": self.bundle(version) for version in VERSIONS}
        found |= {f"{{{name}}}": self.directory / file for name, file in FILES.items()}
        return [str(found.get(word, word)) for word in command]

    def environment(self) -> dict[str, str]:
        """Return what programs see that are traced here."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests/support")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "",
            "OPENBLAS_NUM_THREADS": "1",
        }

    def program(
        self, store: Path, command: Sequence[str], module: Sequence[str] = ("edge_runtime",)
    ) -> list[str]:
        """Return the words that run a command as its users do, or by another program."""
        return [sys.executable, "-m", *module, "--store", str(store), *self.words(command)]

    def run(self, store: Path, command: Sequence[str]) -> devices.Said:
        """Run a command in this process."""
        return devices.run("--store", store, *self.words(command))


def _bundle(path: Path, version: str, scale: float) -> None:
    document = bundles.manifest(devices.TARGET, version=version, release=release_of(version))
    parts = bundles.parts(document, bundles.payload(bundles.graph(scale)))
    target = TargetImage(
        devices.TARGET, "linux", devices.ARCHITECTURE, NAME, version, bundles.signed(parts)
    )
    write_bundle(path, [target])


def _trust_lists(directory: Path) -> None:
    """Write a root key and two lists: one grants the key, the next withdraws another."""
    init_trust(directory, None)
    root = load_signer(directory / ROOT_NAMES[0], None)
    path = directory / TRUST_NAME
    pem, stranger = bundles.SIGNER.public_key.pem, bundles.STRANGER.public_key.fingerprint
    change_trust(path, root, lambda document: granted(document, pem, ()))
    shutil.copyfile(path, directory / FILES["trust-1"])
    change_trust(path, root, lambda document: revoked(document, [stranger], [], []))
    path.rename(directory / FILES["trust-2"])


@cache
def answers(version: str) -> dict[str, bytes]:
    """Return what a version answers to ``FEED``, byte for byte."""
    session = open_session(bundles.graph(VERSIONS[version]), SessionPlan())
    return as_bytes(session.run(FEED))


def as_bytes(arrays: Arrays) -> dict[str, bytes]:
    """Return arrays as their bytes."""
    return {name: array.tobytes() for name, array in arrays.items()}


@contextmanager
def once_for_all() -> Iterator[None]:
    """Do once what a process does anew for each command, while thousands of disks are judged.

    Each package is tried once, in a real child, and later trials find the same at once; so are
    the command line's parser and the control groups' limits.
    """
    known: dict[tuple[str, tuple[str, ...]], tuple[Verdict, ...]] = {}

    def remembering(
        directory: Path, digest: str, variants: Sequence[str], **limits: int
    ) -> tuple[Verdict, ...]:
        key = (digest, tuple(variants))
        if key not in known:
            known[key] = run_trial(directory, digest, variants, **limits)
        return known[key]

    with (
        mock.patch.object(installing, "run_trial", remembering),
        mock.patch.object(proofs, "run_trial", remembering),
        mock.patch.object(command_line, "build_parser", cache(build_parser)),
        mock.patch.object(probe, "control_group_limits", cache(probe.control_group_limits)),
    ):
        yield


@contextmanager
def another_boot(directory: Path) -> Iterator[None]:
    """Let this process see the machine as started anew, as it is after a power cut."""
    boot = directory / "boot_id"
    boot.write_text("00000000-0000-4000-8000-000000000000\n", encoding="ascii")
    with mock.patch.object(loads, "_BOOT", boot):
        yield
