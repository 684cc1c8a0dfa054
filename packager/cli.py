"""The ``packager`` command: parse, call one function, render what it returns."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edge_runtime.contract.errors import EXIT_CODES, EdgepackError, UsageError
from edge_runtime.contract.terminal import (
    Outcome,
    abandon,
    note,
    show,
    show_bug,
    show_error,
    tell,
)
from packager import __version__
from packager.config import BuildConfig, config_template, load_config, resolve
from packager.console import step
from packager.flags import (
    BUILD_FLAGS,
    DOCTOR_FLAGS,
    examples,
    flags_of,
    json_flag,
    signer_flags,
)
from packager.output import write_new
from packager.trust_commands import trust

CONFIG_NAME = "packager.toml"

_INTERRUPTED = 128 + signal.SIGINT
_ABANDONED = 128 + 13  # SIGPIPE, which not every system has


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments without the program's name; by default the process's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    as_json = "--json" in arguments  # also for what cannot be parsed
    try:
        outcome = packager.main(args=arguments, prog_name="packager", standalone_mode=False)
        if isinstance(outcome, Outcome):
            show(outcome, as_json=as_json)
    except EdgepackError as error:
        show_error(error, as_json=as_json)
        return error.exit_code
    except click.ClickException as error:
        usage = _usage(error)
        show_error(usage, as_json=as_json)
        return usage.exit_code
    except (click.Abort, KeyboardInterrupt):
        note("interrupted: nothing was left behind")
        return _INTERRUPTED
    except BrokenPipeError:
        abandon(sys.stdout)  # whoever read it has gone, and there is nobody left to tell
        return _ABANDONED
    except Exception as error:  # the last line of defence: no traceback reaches a user
        show_bug(error, "the packager", as_json=as_json)
        return EXIT_CODES["bug"]
    return EXIT_CODES["done"]


def _usage(error: click.ClickException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "packager"
    message = error.format_message()
    return UsageError(
        f"{command}: {message[:1].lower()}{message[1:].rstrip('.')}",
        hint=f"See {command} --help",
        command=command,
    )


# --- what commands are made of -------------------------------------------------------------


def _config(config: Path | None, flags: dict[str, Any]) -> BuildConfig:
    path = config or Path(CONFIG_NAME)
    file = load_config(path) if config or path.is_file() else {}
    return resolve(flags, file)


@click.group(
    epilog=examples("demo", "build fraud.skops --data rows.csv --label fraud --version 1.4.0"),
    context_settings={"max_content_width": 100},
)
@json_flag
@click.version_option(__version__, message="packager %(version)s")
def packager() -> None:
    """Turn a trained model into one signed bundle per release, for devices in the field."""


packager.add_command(trust)


# --- keys ----------------------------------------------------------------------------------


@packager.command(epilog=examples("keygen", "keygen --out keys --passphrase-file pass.txt"))
@click.option(
    "--out",
    type=Path,
    default=Path("keys"),
    show_default=True,
    help="Where the key pair goes; a directory.",
)
@click.option("--passphrase-file", type=Path, help="Encrypt the private key by its first line.")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase.")
@json_flag
def keygen(out: Path, passphrase_file: Path | None, ask: bool) -> Outcome:
    """Make the key pair that signs releases."""
    from packager.passphrase import new_passphrase, read_passphrase
    from packager.stages.sign import PRIVATE_NAME, PUBLIC_NAME, generate_key

    private, public = out / PRIVATE_NAME, out / PUBLIC_NAME
    passphrase = read_passphrase(passphrase_file) if passphrase_file else None
    if ask and passphrase is None:
        passphrase = new_passphrase(private)
    fingerprint = generate_key(out, passphrase).fingerprint
    return Outcome(
        "edgepack.keygen/1",
        {
            "fingerprint": fingerprint,
            "public_key": str(public),
            "private_key": str(private),
            "encrypted": passphrase is not None,
        },
        f"fingerprint {fingerprint}\n"
        f"{private} signs: keep it to yourself, and a copy of it in a safe place\n"
        f"{public} goes to the devices: edge-runtime trust add {public.name}",
    )


# --- build ---------------------------------------------------------------------------------


@packager.command(
    epilog=examples(
        "build fraud.skops --data rows.csv --label fraud --version 1.4.0",
        "build --config fraud.toml --target x86-64-cpu",
    )
)
@flags_of(BUILD_FLAGS)
@click.option(
    "--config",
    type=Path,
    metavar="FILE",
    help=f"Where flags that are not given stand; {CONFIG_NAME} if it is there.",
)
@json_flag
def build(config: Path | None, **flags: Any) -> Outcome:
    """Convert, check, quantize, measure, pack and sign a model."""
    resolved = _config(config, flags)  # first: a slip of the fingers needs no heavy imports
    from packager.doctor import explain
    from packager.passphrase import ask_passphrase
    from packager.pipeline import build as build_bundle
    from packager.pipeline import build_json
    from packager.report.terminal import build_text

    try:
        built = build_bundle(resolved, step, ask_passphrase)
    except EdgepackError as refusal:
        explain(resolved, refusal)
        raise
    text = build_text(built.facts, built.packed, str(built.page))
    return Outcome("edgepack.build/1", build_json(built), text)


@packager.command(
    epilog=examples(
        "init fraud.skops --data rows.csv --label fraud",
        "init fraud.onnx --target arm64-cpu --unsigned",
    )
)
@flags_of(BUILD_FLAGS)
@json_flag
def init(**flags: Any) -> Outcome:
    """Write a commented packager.toml: every flag of build is a key."""
    path = Path(CONFIG_NAME)
    write_new(path, config_template(resolve(flags, {})))
    return Outcome(
        "edgepack.init/1", {"path": str(path)}, f"wrote {path}; next: packager build"
    )


@packager.command(
    epilog=examples("doctor fraud.skops", "doctor fraud.skops --data rows.csv --label fraud")
)
@flags_of(DOCTOR_FLAGS)
@json_flag
def doctor(**flags: Any) -> Outcome:
    """Say what would become of a model, before any build."""
    from packager.doctor import diagnose, kinds_here
    from packager.report.diagnosis import diagnosis_json, diagnosis_text, kinds_text

    if flags["model"] is None:
        kinds = kinds_here()
        return Outcome("edgepack.kinds/1", {"kinds": kinds}, kinds_text(kinds))
    found = diagnose(resolve(flags, {}), step)
    return Outcome("edgepack.doctor/1", diagnosis_json(found), diagnosis_text(found))


# --- bundles -------------------------------------------------------------------------------


@packager.command(
    epilog=examples(
        "sign dist/fraud-1.4.0.oci.tar --key keys/release.key",
        "sign dist/fraud-1.4.0.oci.tar --sign-with './hsm-sign --slot 1' --public-key hsm.pub",
    )
)
@click.argument("bundle", type=Path)
@signer_flags
@json_flag
def sign(
    bundle: Path, certificates: tuple[Path, ...], authority: Path | None, **signers: Any
) -> Outcome:
    """Sign every target of a bundle, in place of any signature."""
    from packager.passphrase import ask_passphrase
    from packager.release import choose_certification, choose_signer, sign_bundle

    signer = choose_signer(**signers, ask=ask_passphrase)
    certification = choose_certification(certificates, authority, signer)
    targets = sign_bundle(bundle, signer, certification)
    fingerprint = signer.public_key.fingerprint
    return Outcome(
        "edgepack.sign/1",
        {"bundle": str(bundle), "signer": fingerprint, "targets": targets},
        f"signed {', '.join(targets)} of {bundle}\nby {fingerprint}",
    )


@packager.command(
    epilog=examples(
        "verify dist/fraud-1.4.0.oci.tar --trust keys/release.pub",
        "verify dist/fraud-1.4.0.oci.tar --trust old.pub --trust new.pub --json",
    )
)
@click.argument("bundle", type=Path)
@click.option(
    "--trust",
    type=Path,
    multiple=True,
    required=True,
    metavar="PUB",
    help="Public key to believe; may be repeated.",
)
@json_flag
def verify(bundle: Path, trust: tuple[Path, ...]) -> Outcome:
    """Verify a bundle by the device's own code, to the last byte."""
    from packager.release import verify_release

    packages = verify_release(bundle, trust)
    lines = [f"verified: {bundle}"]
    lines += [f"  {target}  signed by {signer}" for target, signer in packages.items()]
    return Outcome(
        "edgepack.verify/1", {"bundle": str(bundle), "targets": packages}, "\n".join(lines)
    )


@packager.command(
    epilog=examples(
        "inspect dist/fraud-1.4.0.oci.tar --json",
        "inspect dist/fraud-1.4.0.oci.tar dist/fraud-1.5.0.oci.tar",
    )
)
@click.argument("bundle", type=Path)
@click.argument("other", type=Path, required=False)
@json_flag
def inspect(bundle: Path, other: Path | None) -> Outcome:
    """Show a bundle, or two side by side, whoever signed them."""
    from dataclasses import asdict

    from packager.bundle_file import bundle_json, read_bundle
    from packager.report.side_by_side import compare_bundles
    from packager.report.side_by_side_text import side_by_side_text
    from packager.report.terminal import bundle_text

    if other is not None:
        both = compare_bundles(bundle, other)
        return Outcome("edgepack.compare/1", asdict(both), side_by_side_text(both))
    targets = read_bundle(bundle)
    return Outcome("edgepack.inspect/1", bundle_json(targets), bundle_text(targets))


# --- the rest ------------------------------------------------------------------------------


@packager.command(epilog=examples("targets", "targets --json"))
@json_flag
def targets() -> Outcome:
    """List the target profiles that come with the packager."""
    from dataclasses import asdict

    from packager.report.terminal import targets_text
    from packager.target import list_profiles

    profiles = list_profiles()
    return Outcome(
        "edgepack.targets/1",
        {"targets": [asdict(profile) for profile in profiles]},
        targets_text(profiles),
    )


@packager.command(epilog=examples("emulators", "emulators --make"))
@click.option("--make", is_flag=True, help="Fetch what is missing, once; it is kept.")
@json_flag
def emulators(make: bool) -> Outcome:
    """Show which CPU models can be emulated here."""
    from packager.emulation.emulators import emulators_here, make_emulators
    from packager.report.emulators import emulators_json, emulators_text

    if make:
        make_emulators(step)
    found = emulators_here()
    return Outcome("edgepack.emulators/1", emulators_json(found), emulators_text(found))


@packager.command(epilog=examples("demo", "demo --dir /tmp/edgepack-demo"))
@click.option(
    "--dir",
    "directory",
    type=Path,
    metavar="DIR",
    help="Where to work, an empty directory; a temporary one otherwise.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def demo(directory: Path | None, as_json: bool) -> Outcome:
    """Show the whole journey on real data, device included."""
    from packager.demo import run_demo

    return run_demo(directory, note if as_json else tell)
