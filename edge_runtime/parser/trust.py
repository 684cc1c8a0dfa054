"""The commands of ``trust``."""

from __future__ import annotations

from edge_runtime.parser.adder import Adder


def add_trust(adder: Adder) -> None:
    """Add ``trust add``, ``list``, ``update`` and ``remove``."""
    group = adder.group(
        "trust",
        "Say whose signatures this device believes.",
        ("add release.pub", "list"),
    )
    _add_adding(group)
    group.add(
        "list", "List what is trusted and what was withdrawn.", "trust:show", ("", "--json")
    )
    update = group.add(
        "update",
        "Put a newer trust.json of the pinned root key in force.",
        "trust:update",
        ("trust.json", "/media/usb/trust.json --json"),
    )
    update.add_argument("file", metavar="TRUST.JSON", help="as packager trust wrote it")
    remove = group.add(
        "remove",
        "Trust a key no longer; what it signed is not loaded any more.",
        "trust:remove",
        ("3f2a9c01", "3f2a9c01 --json"),
    )
    remove.add_argument("fingerprint", metavar="FINGERPRINT", help="or the start of it")


def _add_adding(group: Adder) -> None:
    add = group.add(
        "add",
        "Trust a public key, an authority's certificate, or a root key from now on.",
        "trust:add",
        ("vision.pub --for 'vision-*'", "--root root.pub"),
    )
    add.add_argument("key", metavar="KEY", help="public key or certificate in PEM")
    add.add_argument(
        "--for",
        dest="patterns",
        metavar="PATTERN",
        action="append",
        help="only for models whose names this stands for; may be repeated",
    )
    add.add_argument(
        "--root",
        action="store_true",
        help="it signs no bundles: it signs trust.json, which says whose signatures count",
    )
