"""Models that would take a machine down: the trial ends each with a reason, and others pass.

The bombs are contained twice: by the trial of a package as it is installed, and below that by
the limits alone, with the bytes handed to the engine as they are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import bombs
import bundles
import devices
import pytest

from edge_runtime.contract.bundle.verify import verify_bundle
from edge_runtime.contract.errors import GraphRefused, TrialFailed
from edge_runtime.engine import child
from edge_runtime.engine.trial import Trial, run_trial, try_variants
from edge_runtime.engine.verdict import choose
from edge_runtime.engine.watch import watched
from edge_runtime.runtime import install
from edge_runtime.state.store import Store

CHECKOUT = Path(child.__file__).parents[2]
TIMEOUT_S = 4

GREEDY = [bombs.constant_of_shape, bombs.tile]
UNPACKING = bombs.sparse_initializer
ENDLESS = bombs.endless_loop


def test_the_bombs_are_small() -> None:
    sizes = [len(bomb()) for bomb in (*GREEDY, UNPACKING, ENDLESS)]
    assert sizes == [68, 77, 81, 181]


# --- as a bundle that is installed ---------------------------------------------------------


def tried(directory: Path, bomb: Callable[[], bytes]) -> str:
    """Try a bomb as an installation does, and return why it failed."""
    package = directory / "package"
    package.mkdir()
    with verify_bundle(bombs.packed(directory / "b.oci.tar", bomb()), bundles.KEYS) as verified:
        verified.packages[0].extract(package)
        digest = verified.packages[0].digest
    with pytest.raises(TrialFailed) as caught:
        run_trial(package, digest, ["float32"], threads=1, timeout_s=TIMEOUT_S)
    (verdict,) = caught.value.values["found"]
    return str(verdict["reason"])


@pytest.mark.parametrize("bomb", GREEDY)
def test_a_graph_that_wants_4_gib_fails_its_trial_by_its_working_set(
    tmp_path: Path, bomb: Callable[[], bytes]
) -> None:
    found = tried(tmp_path, bomb)
    assert found.startswith("its working set of 64.0 MiB was not enough: the engine failed")
    assert "4294967296" in found


def test_a_loop_without_an_end_fails_its_trial_by_its_time(tmp_path: Path) -> None:
    assert tried(tmp_path, ENDLESS) == f"it did not answer within {TIMEOUT_S} s"


def test_a_sparse_tensor_is_refused_before_any_engine_opens_it(
    tmp_path: Path,
) -> None:
    store = Store(Path(devices.trusting(tmp_path)[1]), "named by the test")
    bundle = bombs.packed(tmp_path / "b.oci.tar", UNPACKING())
    with pytest.raises(GraphRefused, match="sparse"):
        install(bundle, store)


# --- the limits alone ----------------------------------------------------------------------

# What a trial's child does, without a package and without a look at the graph.
BARE = """
import os, sys
sys.path.append({checkout!r})
from edge_runtime.contract import strictjson
from edge_runtime.contract.errors import DeviceError
from edge_runtime.engine.limits import confine
from edge_runtime.engine.session import SessionPlan, open_session
bounds = confine(memory_bytes={memory}, threads=1, cpu_s=60)
os.write(int(sys.argv[-1]), strictjson.dumps(bounds.to_json()) + b"\\n")
try:
    open_session(bytes.fromhex({graph!r}), SessionPlan()).run({{}})
    told = "it answered"
except (DeviceError, MemoryError) as error:
    told = type(error).__name__ + " " + str(error)
os.write(int(sys.argv[-1]), told.encode() + b"\\n")
"""


@pytest.mark.parametrize("bomb", [*GREEDY, UNPACKING])
def test_the_limits_alone_refuse_what_the_engine_asks_for(bomb: Callable[[], bytes]) -> None:
    code = BARE.format(checkout=str(CHECKOUT), memory=bombs.WORKING_SET, graph=bomb().hex())
    ended = watched([sys.executable, "-c", code], timeout_s=60)
    assert (ended.status, ended.stopped) == (0, "")
    assert b"alloc" in ended.report
    assert ended.memory_bytes is not None
    assert ended.memory_bytes < bombs.WORKING_SET


def test_the_limits_alone_end_what_never_answers() -> None:
    code = BARE.format(checkout=str(CHECKOUT), memory=bombs.WORKING_SET, graph=ENDLESS().hex())
    ended = watched([sys.executable, "-c", code], timeout_s=TIMEOUT_S)
    assert (ended.status, ended.stopped) == (-9, f"it did not answer within {TIMEOUT_S} s")


# --- a gigabyte that is only mapped --------------------------------------------------------


def test_a_gibibyte_of_mapped_weights_passes_with_a_working_set_of_64_mib(
    tmp_path: Path,
) -> None:
    """The same package has a variant that really takes what the mapped bytes leave room for.

    Address space for the weights is granted, so the kernel's limits let 700 MiB of memory pass
    too: only who looks at the memory itself tells the two apart.
    """
    graphs = {"greedy": bombs.product(wasted=700 << 20), "float32": bombs.product()}
    directory = tmp_path / "package"
    digest = bombs.mapped(directory, graphs)
    greedy, sound = try_variants(Trial(directory, digest, threads=1), list(graphs))
    assert greedy.reason == "it took more memory than its working set of 64.0 MiB"
    assert sound.passed
    assert sound.memory_bytes is not None
    assert sound.memory_bytes < bombs.WORKING_SET
    choice = choose([greedy, sound])
    assert choice is not None
    assert choice.variant == "float32"
    assert (directory / bombs.WEIGHTS).stat().st_size == 1 << 30
