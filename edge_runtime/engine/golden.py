"""Golden vectors: the inputs and answers that a variant must reproduce on every chip."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edge_runtime.contract.answers import answer_rows
from edge_runtime.contract.bundle.manifest import Golden, Manifest, Variant
from edge_runtime.contract.bundle.verify import VerifiedPackage
from edge_runtime.contract.errors import DeviceError, GoldenMismatch, ManifestInvalid
from edge_runtime.contract.npz import read_npz
from edge_runtime.contract.tensors import Array, Arrays, TensorSpec, compare
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
        ManifestInvalid: when the graph is not as the manifest describes it.
        DeviceError: when the engine cannot open or run it as planned.
        DigestMismatch: when a file is not the signed one.
    """
    manifest = package.manifest
    session = open_session(package.model(variant), plan)
    _check_described(variant, "inputs", manifest.interface.inputs, session.inputs)
    _check_described(variant, "outputs", manifest.interface.outputs, session.outputs)
    hold_golden(package, variant, session.run)
    return session


def hold_golden(
    package: VerifiedPackage, variant: Variant, run: Callable[[Arrays], Arrays]
) -> None:
    """Run a variant's golden vectors; every answer must hold.

    Raises:
        GoldenMismatch: when an answer differs by more than its tolerance.
        ManifestInvalid: when the file of vectors is not as the manifest describes it.
        DeviceError: when the engine cannot run it.
        DigestMismatch: when the file of vectors is not the signed one.
    """
    manifest = package.manifest
    golden = manifest.golden
    vectors = read_npz(package.read(golden.file), what=golden.file)
    answers = run(_inputs(manifest, vectors))
    for output in variant.tolerances:
        expected = _vector(vectors, f"out/{variant.name}/{output}", golden)
        _check_answer(variant, output, expected, answers[output])
    if manifest.interface.roles:
        answer_rows(manifest.interface, answers, golden.rows)  # as they will be handed out


def golden_inputs(package: VerifiedPackage) -> Arrays:
    """Return the rows that every variant was proven with.

    Raises:
        ManifestInvalid: when the file of vectors is not as the manifest describes it.
        DigestMismatch: when it is not the signed one.
    """
    file = package.manifest.golden.file
    return _inputs(package.manifest, read_npz(package.read(file), what=file))


def prove_first(
    package: VerifiedPackage, variants: Sequence[Variant], *, threads: int
) -> tuple[Variant, Session, list[str]]:
    """Prove variants in this process, best first.

    Returns:
        The first that holds, its session, and why each before it was left aside.

    Raises:
        DeviceError: when the last does not hold either.
    """
    failed: list[str] = []

    def proven(variant: Variant) -> tuple[Variant, Session, list[str]]:
        plan = session_plan(package.manifest, variant, threads=threads)
        return variant, prove(package, variant, plan), failed

    *better, last = variants
    for variant in better:
        try:
            return proven(variant)
        except DeviceError as error:
            failed.append(f"{variant.name} left aside: {error.message}")
    return proven(last)


def _check_described(
    variant: Variant, what: str, signed: tuple[TensorSpec, ...], found: tuple[TensorSpec, ...]
) -> None:
    expected = sorted((spec.name, spec.dtype) for spec in signed)
    actual = sorted((spec.name, spec.dtype) for spec in found)
    if expected != actual:
        raise ManifestInvalid(
            f"{variant.name} must have the {what} {_listed(expected)}, "
            f"its graph has {_listed(actual)}",
            hint="Build the bundle again with a packager of this format.",
            variant=variant.name,
            expected=expected,
            found=actual,
        )


def _listed(tensors: list[tuple[str, str]]) -> str:
    return ", ".join(f"{name} ({dtype})" for name, dtype in tensors)


def _check_answer(variant: Variant, output: str, expected: Array, actual: Array) -> None:
    found = compare(output, expected, actual, variant.tolerances[output])
    if found is None:
        return
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


def _inputs(manifest: Manifest, vectors: Arrays) -> Arrays:
    names = [spec.name for spec in manifest.interface.inputs]
    return {name: _vector(vectors, f"in/{name}", manifest.golden) for name in names}


def _vector(vectors: Arrays, key: str, golden: Golden) -> Array:
    if key not in vectors:
        raise ManifestInvalid(
            f"{golden.file} must hold {key}, found {sorted(vectors)[:8]}",
            hint="Build the bundle again with a packager of this format.",
            expected=key,
            found=sorted(vectors),
        )
    return vectors[key]
