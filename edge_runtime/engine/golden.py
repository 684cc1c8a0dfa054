"""Golden vectors: the inputs and answers that a variant must reproduce on every chip."""

from __future__ import annotations

from edge_runtime.contract.bundle.manifest import Golden, Manifest, Variant
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import GoldenMismatch, ManifestInvalid
from edge_runtime.contract.npz import read_npz
from edge_runtime.contract.tensors import Array, Arrays, compare
from edge_runtime.engine.session import Session, SessionPlan, open_session


def session_plan(manifest: Manifest, variant: Variant, *, threads: int) -> SessionPlan:
    """Return how a variant is opened here: as signed, with at most ``threads`` threads."""
    return SessionPlan(
        provider=variant.provider,
        threads=max(1, min(manifest.target.threads, threads)),
        session_options=variant.session_options,
        provider_options=variant.provider_options,
    )


def prove(package: VerifiedPackage, variant: Variant, plan: SessionPlan) -> Session:
    """Open a variant, run its golden vectors, and return the session once every answer holds.

    Raises:
        GoldenMismatch: when an answer differs by more than its tolerance.
        DeviceError: when the engine cannot open or run it as planned.
        DigestMismatch: when a file is not the signed one.
    """
    session = open_session(package.read(variant.model_file), plan)
    golden = package.manifest.golden
    vectors = read_npz(package.read(golden.file), what=golden.file)
    feed = {spec.name: _vector(vectors, f"in/{spec.name}", golden) for spec in session.inputs}
    answers = session.run(feed)
    for output, tolerance in variant.tolerances.items():
        expected = _vector(vectors, f"out/{variant.name}/{output}", golden)
        found = compare(output, expected, answers[output], tolerance)
        if found is not None:
            raise GoldenMismatch(
                f"{variant.name} must answer {found.expected} in row {found.row} of {output}, "
                f"found {found.actual}; {found.disagreeing} of {found.total} values differ",
                hint="Build for this processor: name its CPU model in the target profile.",
                variant=variant.name,
                output=output,
                row=found.row,
                expected=found.expected,
                found=found.actual,
            )
    return session


def _vector(vectors: Arrays, key: str, golden: Golden) -> Array:
    if key not in vectors:
        raise ManifestInvalid(
            f"{golden.file} must hold {key}, found {sorted(vectors)[:8]}",
            hint="Build the bundle again with a packager of this format.",
            expected=key,
            found=sorted(vectors),
        )
    return vectors[key]
