"""``packager trust``: parse, call one function, render what it returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edge_runtime.contract.errors import UsageError
from edge_runtime.contract.terminal import Outcome
from packager.flags import examples, json_flag

_file_flag = click.option(
    "--file",
    "file",
    type=Path,
    default=Path("keys/trust.json"),
    show_default=True,
    help="The list.",
)
_root_flag = click.option(
    "--root",
    type=Path,
    default=Path("keys/root.key"),
    show_default=True,
    metavar="KEY",
    help="The private root key in PEM.",
)
_passphrase_flag = click.option(
    "--passphrase-file", type=Path, metavar="FILE", help="Open --root by its first line."
)


def _changing(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the flags of all that sign the list anew."""
    return _file_flag(_root_flag(_passphrase_flag(json_flag(command))))


@click.group(epilog=examples("trust init", "trust show"))
@json_flag
def trust() -> None:
    """Keep the signed list of whose bundles devices believe."""


@trust.command(
    epilog=examples("trust init", "trust init --out safe --passphrase-file pass.txt")
)
@click.option(
    "--out",
    type=Path,
    default=Path("keys"),
    show_default=True,
    help="Where root key and list go; a directory.",
)
@click.option("--passphrase-file", type=Path, help="Encrypt the root key by its first line.")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase.")
@json_flag
def init(out: Path, passphrase_file: Path | None, ask: bool) -> Outcome:
    """Make the root key, and a list that trusts nobody yet."""
    from packager.trust import ROOT_NAMES, init_trust

    passphrase = _passphrase(out / ROOT_NAMES[0], passphrase_file, ask)
    made = init_trust(out, passphrase)
    private, public = (out / name for name in ROOT_NAMES)
    return Outcome(
        "edgepack.trust-init/1",
        {
            "fingerprint": made.root,
            "public_key": str(public),
            "private_key": str(private),
            "encrypted": passphrase is not None,
            "file": str(made.path),
            "serial": made.document.serial,
        },
        f"fingerprint {made.root}\n"
        f"{private} signs {made.path}: keep it off the network, and a copy in a safe place\n"
        f"{public} goes to the devices: edge-runtime trust add --root {public.name}",
    )


@trust.command(
    epilog=examples(
        "trust add keys/release.pub", "trust add keys/release.pub --for 'vision-*' --for fraud"
    )
)
@click.argument("key", type=Path)
@click.option(
    "--for",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Only for models whose names this stands for; may be repeated.",
)
@_changing
def add(key: Path, patterns: tuple[str, ...], file: Path, **root: Any) -> Outcome:
    """Let a key, or what an authority issued, sign for models."""
    from packager.release import read_public_file
    from packager.trust import change_trust, granted

    pem = read_public_file(key)
    done = change_trust(file, _signer(**root), lambda found: granted(found, pem, patterns))
    return _outcome(done, f"{key} counts for {', '.join(patterns or ('every model',))}")


@trust.command(
    epilog=examples(
        "trust revoke --key old.pub",
        "trust revoke --release fraud@1004000 --file keys/trust.json",
    )
)
@click.option("--key", "keys", multiple=True, metavar="KEY", help="A file or a fingerprint.")
@click.option("--release", "releases", multiple=True, metavar="NAME@NUMBER", help="A release.")
@click.option("--digest", "digests", multiple=True, metavar="DIGEST", help="One package.")
@_changing
def revoke(
    keys: tuple[str, ...],
    releases: tuple[str, ...],
    digests: tuple[str, ...],
    file: Path,
    **root: Any,
) -> Outcome:
    """Withdraw keys, releases and packages from all devices."""
    from packager.trust import change_trust, digest_named, key_named, release_named, revoked

    if not (keys or releases or digests):
        raise UsageError(
            "trust revoke withdraws at least one thing, it was given none",
            hint="Give --key, --release or --digest.",
            expected=["--key", "--release", "--digest"],
            found=[],
        )
    fingerprints = [key_named(text) for text in keys]
    numbers = [release_named(text) for text in releases]
    packages = [digest_named(text) for text in digests]
    done = change_trust(
        file, _signer(**root), lambda found: revoked(found, fingerprints, numbers, packages)
    )
    return _outcome(done, f"withdrawn: {', '.join([*fingerprints, *releases, *packages])}")


@trust.command(
    epilog=examples(
        "trust rotate --out next", "trust rotate --out next --new-passphrase-file pass.txt"
    )
)
@click.option("--out", type=Path, required=True, help="Where the new root key goes.")
@click.option(
    "--new-passphrase-file", type=Path, help="Encrypt the new root key by its first line."
)
@_changing
def rotate(out: Path, new_passphrase_file: Path | None, file: Path, **root: Any) -> Outcome:
    """Hand the list over to a new root key, by the old one."""
    from packager.trust import ROOT_NAMES, rotate_root

    passphrase = _passphrase(out / ROOT_NAMES[0], new_passphrase_file, ask=False)
    done = rotate_root(file, _signer(**root), out, passphrase)
    return _outcome(done, f"root {done.root} signs from now on: {out / ROOT_NAMES[0]}")


@trust.command(epilog=examples("trust show", "trust show --file keys/trust.json --json"))
@_file_flag
@json_flag
def show(file: Path) -> Outcome:
    """Show what a list says, whoever signed it."""
    from packager.trust import show_trust

    return _outcome(show_trust(file), "")


@trust.command(
    epilog=examples(
        "trust carry dist/fraud-1.4.0.oci.tar",
        "trust carry dist/fraud-1.4.0.oci.tar --file keys/trust.json",
    )
)
@click.argument("bundle", type=Path)
@_file_flag
@json_flag
def carry(bundle: Path, file: Path) -> Outcome:
    """Let a bundle carry the list to the devices; its signatures stay."""
    from packager.trust import carry_trust

    return _outcome(carry_trust(bundle, file), f"{bundle} carries it")


# --- what they share -----------------------------------------------------------------------


def _passphrase(key: Path, file: Path | None, ask: bool) -> bytes | None:
    from packager.passphrase import new_passphrase, read_passphrase

    if file is not None:
        return read_passphrase(file)
    return new_passphrase(key) if ask else None


def _signer(root: Path, passphrase_file: Path | None) -> Any:
    from packager.passphrase import ask_passphrase
    from packager.release import file_signer

    return file_signer(root, passphrase_file, ask_passphrase)


def _outcome(found: Any, said: str) -> Outcome:
    document = found.document
    revoked = document.revocations
    lines = [said] if said else []
    lines.append(f"{found.path}: serial {document.serial}, root {found.root}")
    lines += [f"  {one.fingerprint}  {', '.join(one.patterns)}" for one in document.grants]
    releases = [f"{name}@{number}" for name, number in sorted(revoked.releases)]
    withdrawn = [*sorted(revoked.keys), *releases, *sorted(revoked.digests)]
    lines += [f"  withdrawn: {item}" for item in withdrawn]
    return Outcome(
        "edgepack.trust-list/1",
        {
            "file": str(found.path),
            "serial": document.serial,
            "root": found.root,
            "rotations": found.rotations,
            "keys": [
                {"fingerprint": one.fingerprint, "for": list(one.patterns)}
                for one in document.grants
            ],
            "revoked_keys": sorted(revoked.keys),
            "revoked_releases": releases,
            "revoked_digests": sorted(revoked.digests),
        },
        "\n".join(lines),
    )
