"""All that helps to find a fault, in one file for whoever is not at the device.

It holds what the device is and what happened, and nothing of whom it serves: no rows, no key,
no name of a user or of this machine. Each part is gathered for itself: a store too broken for
one command still tells the rest.
"""

from __future__ import annotations

import json
import os
import pwd
import re
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from edge_runtime import __version__
from edge_runtime.checking import check_store
from edge_runtime.contract.errors import EdgepackError, StoreUnreadable
from edge_runtime.contract.facts import DeviceFacts
from edge_runtime.contract.logs import LogReader
from edge_runtime.contract.segments import Subject
from edge_runtime.contract.windows import Window
from edge_runtime.health import require_health
from edge_runtime.metrics import summarize
from edge_runtime.probe import probe
from edge_runtime.proofs import remembered
from edge_runtime.state.store import Store
from edge_runtime.status import model_status

SCHEMA = "edgepack.support/1"
MAX_LISTED = 5000
MAX_WINDOWS = 50

_KEY = re.compile(r"-----BEGIN [A-Z ]+-----.*?(?:-----END [A-Z ]+-----|\Z)", re.DOTALL)
_MAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_ADDRESS = re.compile(
    r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])|(?:[0-9a-f]{2}:){5}[0-9a-f]{2}"
)
_HOME = re.compile(r"(?<![\w.-])/(?:home|Users)/[^/\s'\":,;)]+")
# Who has such a name is not told by it.
_NOBODY = frozenset({"root", "nobody", "localhost"})
# The first user that is a person, by the rule of Linux distributions.
_FIRST_PERSON = 1000


def collect(store: Store, tell: Callable[[str], None] = lambda _: None) -> dict[str, Any]:
    """Return all that the file is to hold, with names taken out.

    Args:
        store: the store; it need not be there, nor be in order.
        tell: is told what is being read, because that may take minutes.
    """
    facts = probe()
    parts: dict[str, Callable[[], Any]] = {
        "device": lambda: facts.to_json(),
        "store": lambda: {
            "root": str(store.root),
            "origin": store.origin,
            **_space(store.root),
        },
        "health": lambda: require_health(store, store.models()),
        "keys": store.trust.fingerprints,
        "models": lambda: [
            _part(partial(model_status, store.model(name), facts)) for name in store.models()
        ],
        "trials": lambda: _trials(store, facts),
        "check": lambda: _check(store, tell),
        "metrics": lambda: summarize(_logs(store)).to_json(),
        "windows": lambda: _windows(_logs(store)),
        "files": lambda: _files(store.root),
    }
    found = {"schema": SCHEMA, "runtime": __version__}
    found |= {name: _part(gather) for name, gather in parts.items()}
    redacted: dict[str, Any] = Redaction().of(json.loads(json.dumps(found, default=str)))
    return redacted


def _part(gather: Callable[[], Any]) -> Any:
    try:
        return gather()
    except EdgepackError as error:
        return error.as_json()
    except OSError as error:
        message = f"{error.filename or 'the store'} cannot be read: {error.strerror}"
        return {"error": {"code": StoreUnreadable.code, "message": message}}
    except Exception as error:  # what is broken here is the very reason why somebody asks
        return {"error": {"code": "bug", "message": f"{type(error).__name__}: {error}"}}


def _space(root: Path) -> dict[str, int]:
    facts = os.statvfs(root)
    return {
        "free_bytes": facts.f_bavail * facts.f_frsize,
        "disk_bytes": facts.f_blocks * facts.f_frsize,
        "free_files": facts.f_favail,
    }


def _trials(store: Store, facts: DeviceFacts) -> dict[str, Any]:
    """Return what the trials found on this engine and processor, by model and version."""
    return {
        name: {
            item.digest: [
                verdict.to_json()
                for verdict in remembered(store.model(name), item.digest, facts)
            ]
            for item in store.model(name).installed()
        }
        for name in store.models()
    }


def _check(store: Store, tell: Callable[[str], None]) -> dict[str, Any]:
    report = check_store(store, tell=tell)
    return {
        "versions": [asdict(item) for item in report.versions],
        "findings": [finding.to_json() for finding in report.findings],
        "notes": report.notes,
    }


def _logs(store: Store) -> list[Path]:
    return [store.model(name).metrics for name in store.models()]


def _windows(logs: list[Path]) -> list[dict[str, Any]]:
    """Return the latest windows in which anything failed or happened; they hold no rows."""
    found = ((subject, window) for _, subject, window in LogReader(logs))
    told = (item for item in found if item[1].tally.errors or item[1].events)
    return [_window(subject, window) for subject, window in islice(told, MAX_WINDOWS)]


def _window(subject: Subject, window: Window) -> dict[str, Any]:
    return {
        "model": subject.model,
        "version": subject.version,
        "variant": subject.variant,
        "from_ms": window.from_ms,
        "to_ms": window.to_ms,
        "predictions": window.tally.predictions,
        "errors": window.tally.errors,
        "events": [event.to_json() for event in window.events],
    }


def _files(root: Path) -> dict[str, Any]:
    """Return what stands in the store: names, sizes, modes and owners by number."""
    listed = []
    for path in islice(root.rglob("*"), MAX_LISTED):
        facts = path.lstat()
        listed.append(
            {
                "path": str(path.relative_to(root)),
                "mode": f"{facts.st_mode:06o}",
                "bytes": facts.st_size,
                "names": facts.st_nlink,
                "owner": facts.st_uid,
                "group": facts.st_gid,
            }
        )
    listed.sort(key=lambda item: str(item["path"]))
    return {"listed": listed, "partial": len(listed) == MAX_LISTED}


# --- taking out ----------------------------------------------------------------------------


class Redaction:
    """Takes names out of texts: this machine's, its users', addresses, and whole keys."""

    def __init__(self) -> None:
        names = {os.uname().nodename: "<host>", os.uname().nodename.partition(".")[0]: "<host>"}
        for user in _users():
            names[user] = "<user>"
        known = [name for name in names if len(name) > 1 and name not in _NOBODY]
        self._names = names
        words = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
        self._known = re.compile(rf"(?<![A-Za-z0-9])(?:{words or '(?!)'})(?![A-Za-z0-9])")
        self._home = os.environ.get("HOME", "").rstrip("/")

    def of(self, value: Any) -> Any:
        """Return a JSON value in which every text is redacted; its keys are the program's."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.of(item) for item in value]
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in value.items()}
        return value

    def text(self, text: str) -> str:
        """Return a text without names."""
        text = _KEY.sub("<key>", text)
        if len(self._home) > 1:
            text = text.replace(self._home, "~")
        text = _HOME.sub("~", text)
        text = _ADDRESS.sub("<address>", _MAIL.sub("<address>", text))
        return self._known.sub(lambda found: self._names[found[0]], text)


def _users() -> set[str]:
    """Return what the people are called who have an account here."""
    names = {os.environ.get(name, "") for name in ("USER", "LOGNAME", "SUDO_USER")}
    return names | {user.pw_name for user in pwd.getpwall() if user.pw_uid >= _FIRST_PERSON}
