"""Ways to bring about each error of a prediction that takes too long, or of its worker."""

from __future__ import annotations

import os
import sys

import devices
import endless
from mishaps import CHECKOUT, HEADER, Scene, brings_about

from edge_runtime.contract import errors
from edge_runtime.contract.npz import write_npz


@brings_about(errors.DeadlineExceeded)
def graph_that_never_ends(scene: Scene) -> list[str]:
    bundle = devices.packed(scene.path / "loop.oci.tar", endless.loop(), name="loop")
    rows = scene.write("rows.npz", write_npz({"count": endless.FOR_EVER}))
    return ["predict", str(bundle), "--input", str(rows), "--output", "-", "--timeout-ms", "99"]


@brings_about(errors.WorkerFailed)
def no_worker_can_be_started(scene: Scene) -> list[str]:
    """Let the command believe that its Python lies where none is."""
    scene.write("sitecustomize.py", "import sys; sys.executable = '/nowhere/python'\n")
    scene.before = [sys.executable]
    scene.environment["PYTHONPATH"] = os.pathsep.join((str(CHECKOUT), str(scene.path)))
    return [*scene.predict("rows.csv", f"{HEADER}1,1,gold\n"), "--isolate"]


@brings_about(errors.ProgramNotStarted)
def program_that_is_not_there(scene: Scene) -> list[str]:
    return ["exec", "loan", str(scene.path / "nowhere")]


@brings_about(errors.ProgramNotStarted)
def program_that_the_kernel_refuses(scene: Scene) -> list[str]:
    program = scene.write("refused", b"\x7fELF and nothing more")
    program.chmod(0o755)
    return ["exec", "loan", str(program)]
