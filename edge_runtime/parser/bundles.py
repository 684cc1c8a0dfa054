"""The commands about bundles."""

from __future__ import annotations

import argparse

from edge_runtime.parser.adder import Adder


def add_bundle_commands(adder: Adder) -> None:
    """Add ``probe``, ``verify`` and ``install``."""
    adder.add("probe", "Show what this device is.", "bundles:probe", ("", "--json"))
    _verify_flags(
        adder.add(
            "verify",
            "Check signatures and every byte: of a bundle, or of the whole store.",
            "integrity:verify",
            ("fraud-1.4.0.oci.tar --trust release.pub", "--repair /media/usb"),
        )
    )
    _install_flags(
        adder.add(
            "install",
            "Verify a bundle, prove it on this chip, and make it the one that serves.",
            "bundles:install",
            ("fraud-1.4.0.oci.tar", "/media/usb --name fraud"),
        )
    )


def _verify_flags(verify: argparse.ArgumentParser) -> None:
    verify.add_argument(
        "bundle",
        metavar="BUNDLE",
        nargs="?",
        help="a .oci.tar file or layout directory; otherwise all that is installed",
    )
    verify.add_argument(
        "--trust",
        metavar="PUB",
        action="append",
        help="believe this key instead of the store's; may be repeated",
    )
    verify.add_argument(
        "--repair",
        metavar="BUNDLE",
        help="mend what is damaged in the store from this bundle, or from those on this stick",
    )


def _install_flags(install: argparse.ArgumentParser) -> None:
    install.add_argument(
        "bundle",
        metavar="BUNDLE",
        help="a .oci.tar file, a layout directory, a directory with bundles such as a stick, "
        "or - for stdin",
    )
    install.add_argument(
        "--name", metavar="NAME", help="of the bundles in a directory, take this model's"
    )
    install.add_argument(
        "--new-interface",
        action="store_true",
        help="allow other inputs or outputs than those of the version that serves",
    )
    install.add_argument(
        "--stage-only",
        action="store_true",
        help="install and prove it, and let what serves now go on",
    )
