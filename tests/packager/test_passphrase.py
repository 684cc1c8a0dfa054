"""Passphrases come out of a file's first line or from a person, and are never empty."""

from __future__ import annotations

import sys

import click
import pytest

from packager.errors import PassphraseWrong
from packager.passphrase import ask_passphrase, new_passphrase, read_passphrase


@pytest.mark.parametrize("data", [b"secret", b"secret\n", b"secret\r\nmore\n"])
def test_the_first_line_is_the_passphrase(tmp_path, data):
    (tmp_path / "pass").write_bytes(data)
    assert read_passphrase(tmp_path / "pass") == b"secret"


def test_blanks_belong_to_a_passphrase(tmp_path):
    (tmp_path / "pass").write_bytes(b" a b \n")
    assert read_passphrase(tmp_path / "pass") == b" a b "


@pytest.mark.parametrize("data", [b"", b"\n", b"\r\nsecret"])
def test_an_empty_first_line_is_refused(tmp_path, data):
    (tmp_path / "pass").write_bytes(data)
    with pytest.raises(PassphraseWrong, match="must be the passphrase, found an empty one"):
        read_passphrase(tmp_path / "pass")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(PassphraseWrong, match=r"pass, which cannot be read: No such file"):
        read_passphrase(tmp_path / "pass")


@pytest.mark.parametrize("ask", [ask_passphrase, new_passphrase])
def test_without_a_terminal_nobody_is_asked(tmp_path, ask, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False)
    with pytest.raises(PassphraseWrong, match="no terminal") as caught:
        ask(tmp_path / "release.key")
    assert "--passphrase-file" in caught.value.hint


@pytest.mark.parametrize(("ask", "twice"), [(ask_passphrase, False), (new_passphrase, True)])
def test_a_person_is_asked_unseen_and_twice_for_a_new_one(tmp_path, ask, twice, monkeypatch):
    asked = []
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    monkeypatch.setattr(click, "prompt", lambda text, **how: asked.append((text, how)) or "ü")
    assert ask(tmp_path / "release.key") == "ü".encode()
    ((text, how),) = asked
    assert str(tmp_path / "release.key") in text
    assert how == {"hide_input": True, "confirmation_prompt": twice, "err": True}
