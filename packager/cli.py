"""The ``packager`` command: parse, call one function, render what it returns."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from edge_runtime.contract.errors import EXIT_CODES, EdgepackError, OutputUnwritable, UsageError
from packager import __version__
from packager.config import (
    FLAG,
    FRACTION,
    OPTIONS,
    RELEASE,
    TARGETS,
    BuildConfig,
    Option,
    config_template,
    load_config,
    resolve,
)
from packager.console import Outcome, show, show_bug, show_error, step

CONFIG_NAME = "packager.toml"

_json_flag = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: the arguments without the program's name; by default the process's own.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in arguments
    try:
        outcome = packager.main(args=arguments, prog_name="packager", standalone_mode=False)
        if isinstance(outcome, Outcome):
            show(outcome, as_json=as_json)
    except EdgepackError as error:
        show_error(error, as_json=as_json)
        return error.exit_code
    except click.Abort:
        return 128 + 2
    except click.ClickException as error:
        usage = UsageError(error.format_message(), hint="See packager --help")
        show_error(usage, as_json=as_json)
        return usage.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:  # the last line of defence: no traceback reaches a user
        show_bug(error, as_json=as_json)
        return EXIT_CODES["bug"]
    return EXIT_CODES["done"]


def _examples(*lines: str) -> str:
    """Return the end of a help text; the mark keeps click from rewrapping it."""
    return "\b\nexamples:\n" + "\n".join(f"  packager {line}" for line in lines)


@click.group(
    epilog=_examples("demo", "build fraud.skops --data rows.csv --label fraud --version 1.4.0"),
    no_args_is_help=True,
)
@click.version_option(__version__, message="packager %(version)s")
def packager() -> None:
    """Turn a trained model into one signed bundle per release, for devices in the field."""


# --- keys ----------------------------------------------------------------------------------


@packager.command(epilog=_examples("keygen", "keygen --out keys --passphrase-file pass.txt"))
@click.option("--out", default="keys", show_default=True, help="Directory for the key pair.")
@click.option("--passphrase-file", type=Path, help="Its first line encrypts the private key.")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase.")
@_json_flag
def keygen(out: str, passphrase_file: Path | None, ask: bool, as_json: bool) -> Outcome:
    """Make the key pair that signs releases."""
    del as_json
    from packager.passphrase import read_passphrase
    from packager.stages.sign import PUBLIC_NAME, generate_key

    passphrase = read_passphrase(passphrase_file) if passphrase_file else None
    if ask and passphrase is None:
        passphrase = click.prompt(
            "passphrase", hide_input=True, confirmation_prompt=True, err=True
        ).encode()
    key = generate_key(Path(out), passphrase)
    public = Path(out) / PUBLIC_NAME
    return Outcome(
        "edgepack.keygen/1",
        {"fingerprint": key.fingerprint, "public_key": str(public)},
        f"fingerprint {key.fingerprint}\n"
        f"give devices {public}, and keep {Path(out) / 'release.key'} to yourself",
    )


# --- build ---------------------------------------------------------------------------------


def _build_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the model argument and one flag for each key of the configuration."""
    for option in reversed(OPTIONS):
        command = _flag(option)(command)
    return command


def _flag(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    if option.field == "model":
        return click.argument("model", required=False)
    help_text = option.help[0].upper() + option.help[1:] + "."
    name = f"--{option.key}"
    if option.kind is FLAG:
        return click.option(name, option.field, is_flag=True, help=help_text)
    return click.option(
        name,
        option.field,
        type={RELEASE: int, FRACTION: float}.get(option.kind, str),
        multiple=option.kind is TARGETS,
        help=help_text,
        metavar=option.key.rpartition("-")[2].upper(),
    )


def _config(config: Path | None, flags: dict[str, Any]) -> BuildConfig:
    path = config or Path(CONFIG_NAME)
    file = load_config(path) if config or path.is_file() else {}
    return resolve(flags, file)


@packager.command(
    epilog=_examples(
        "build fraud.skops --data rows.csv --label fraud --version 1.4.0",
        "build --config fraud.toml --target x86-64-cpu",
    )
)
@_build_flags
@click.option("--config", type=Path, help=f"Configuration file; {CONFIG_NAME} if it is there.")
@_json_flag
def build(config: Path | None, as_json: bool, **flags: Any) -> Outcome:
    """Convert, check, quantize, measure, pack, sign and verify a model."""
    del as_json
    resolved = _config(
        config, flags
    )  # before the heavy imports: a typing error answers at once
    from packager.passphrase import ask_passphrase
    from packager.pipeline import build as build_bundle
    from packager.pipeline import build_json
    from packager.report.terminal import build_text

    built = build_bundle(resolved, step, ask_passphrase)
    return Outcome(
        "edgepack.build/1",
        build_json(built),
        build_text(built.facts, built.packed),
    )


@packager.command(
    epilog=_examples(
        "init fraud.skops --data rows.csv --label fraud", "init fraud.skops --out dist"
    )
)
@_build_flags
@_json_flag
def init(as_json: bool, **flags: Any) -> Outcome:
    """Write a commented packager.toml in which every flag of build is a key."""
    del as_json
    path = Path(CONFIG_NAME)
    text = config_template(resolve(flags, {}))
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise OutputUnwritable(
            f"init writes {path} anew, found one",
            hint="Edit it, or move it away.",
            path=str(path),
        ) from None
    except OSError as error:
        raise OutputUnwritable(
            f"init writes {path}, which cannot be written: {error.strerror}",
            hint="Run it in a directory that you may write.",
            path=str(path),
            reason=error.strerror,
        ) from None
    return Outcome(
        "edgepack.init/1", {"path": str(path)}, f"wrote {path}; next: packager build"
    )


# --- bundles -------------------------------------------------------------------------------


@packager.command(
    epilog=_examples(
        "sign dist/fraud-1.4.0.oci.tar --key keys/release.key",
        "sign dist/fraud-1.4.0.oci.tar --sign-with './hsm-sign' --public-key release.pub",
    )
)
@click.argument("bundle", type=Path)
@click.option("--key", type=Path, help="Private key in PEM.")
@click.option("--passphrase-file", type=Path, help="Its first line opens the key.")
@click.option(
    "--sign-with",
    metavar="CMD",
    help="Reads the bytes to sign on stdin, writes a DER signature to stdout.",
)
@click.option("--public-key", type=Path, help="With --sign-with: the key that verifies it.")
@_json_flag
def sign(
    bundle: Path,
    key: Path | None,
    passphrase_file: Path | None,
    sign_with: str | None,
    public_key: Path | None,
    as_json: bool,
) -> Outcome:
    """Sign every target of a bundle, in place of any signature that it has."""
    del as_json
    from packager.passphrase import ask_passphrase
    from packager.release import command_signer, file_signer, sign_bundle

    if (key is None) == (sign_with is None):
        raise UsageError(
            f"one signer is needed, found --key {key} and --sign-with {sign_with}",
            hint="Give --key release.key, or --sign-with CMD with --public-key release.pub.",
        )
    signer = (
        command_signer(shlex.split(sign_with), public_key)
        if sign_with is not None
        else file_signer(key or Path(), passphrase_file, ask_passphrase)
    )
    targets = sign_bundle(bundle, signer)
    fingerprint = signer.public_key.fingerprint
    return Outcome(
        "edgepack.sign/1",
        {"bundle": str(bundle), "signer": fingerprint, "targets": targets},
        f"signed {len(targets)} targets of {bundle} by {fingerprint}",
    )


@packager.command(
    epilog=_examples(
        "verify dist/fraud-1.4.0.oci.tar --trust keys/release.pub",
        "verify dist/fraud-1.4.0.oci.tar --trust old.pub --trust new.pub --json",
    )
)
@click.argument("bundle", type=Path)
@click.option("--trust", type=Path, multiple=True, required=True, help="Public key to believe.")
@_json_flag
def verify(bundle: Path, trust: tuple[Path, ...], as_json: bool) -> Outcome:
    """Verify a bundle by the device's own code: signatures, tables, and every byte."""
    del as_json
    from packager.release import verify_release

    packages = verify_release(bundle, trust)
    lines = [f"verified: {bundle}"]
    lines += [f"  {target}  signed by {signer}" for target, signer in packages.items()]
    return Outcome(
        "edgepack.verify/1", {"bundle": str(bundle), "targets": packages}, "\n".join(lines)
    )


@packager.command(
    epilog=_examples(
        "inspect dist/fraud-1.4.0.oci.tar", "inspect dist/fraud-1.4.0.oci.tar --json"
    )
)
@click.argument("bundle", type=Path)
@_json_flag
def inspect(bundle: Path, as_json: bool) -> Outcome:
    """Show what a bundle holds; digests are checked, signatures are not."""
    del as_json
    from packager.bundle_file import bundle_json, read_bundle
    from packager.report.terminal import bundle_text

    targets = read_bundle(bundle)
    return Outcome("edgepack.inspect/1", bundle_json(targets), bundle_text(targets))


@packager.command(epilog=_examples("targets", "targets --json"))
@_json_flag
def targets(as_json: bool) -> Outcome:
    """List the target profiles that come with the packager."""
    del as_json
    from dataclasses import asdict

    from packager.report.terminal import targets_text
    from packager.target import list_profiles

    profiles = list_profiles()
    return Outcome(
        "edgepack.targets/1",
        {"targets": [asdict(profile) for profile in profiles]},
        targets_text(profiles),
    )


@packager.command(epilog=_examples("demo", "demo --dir /tmp/edgepack-demo"))
@click.option(
    "--dir", "directory", type=Path, help="Where to work; a new temporary one if not."
)
def demo(directory: Path | None) -> None:
    """Show the whole journey on real data: train, build, install, predict."""
    from packager.demo import run_demo

    run_demo(directory)
