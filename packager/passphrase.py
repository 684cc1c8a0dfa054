"""Passphrases: out of a file's first line, or typed by a person."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from packager.errors import PassphraseWrong


def read_passphrase(path: Path) -> bytes:
    """Return a file's first line without its end.

    Raises:
        PassphraseWrong: when the file cannot be read, or its first line is empty.
    """
    try:
        line = path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
    except OSError as error:
        raise PassphraseWrong(
            f"the passphrase is read from {path}, which cannot be read: {error.strerror}",
            hint="Check the path, or leave --passphrase-file out to be asked.",
            path=str(path),
            reason=error.strerror,
        ) from None
    if not line:
        raise PassphraseWrong(
            f"the first line of {path} must be the passphrase, found an empty one",
            hint="Write the passphrase on the first line.",
            path=str(path),
        )
    return line


def ask_passphrase(path: Path) -> bytes:
    """Ask the person at the terminal for a key's passphrase.

    Raises:
        PassphraseWrong: when there is nobody to ask.
    """
    return _ask(path, f"passphrase of {path}", twice=False)


def new_passphrase(path: Path) -> bytes:
    """Ask the person at the terminal, twice, for a passphrase to encrypt a key with.

    Raises:
        PassphraseWrong: when there is nobody to ask.
    """
    return _ask(path, f"new passphrase for {path}", twice=True)


def _ask(path: Path, words: str, *, twice: bool) -> bytes:
    if not sys.stdin.isatty():
        raise PassphraseWrong(
            f"{path} needs a passphrase, and there is no terminal to ask for it",
            hint="Give --passphrase-file FILE.",
            path=str(path),
        )
    answer: str = click.prompt(words, hide_input=True, confirmation_prompt=twice, err=True)
    return answer.encode()
