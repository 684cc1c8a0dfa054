"""Attacks by pickles on the child that opens them and on everything around it."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
import pytest
from sklearn.linear_model import LogisticRegression
from sources import DEFAULT_OPSET, dumped, saved_bytes

from packager.errors import EdgepackError, SourceFailed, SourceUnreadable
from packager.sources.confine import Limits
from packager.sources.sandbox import Sandbox
from packager.sources.saved import open_saved

LIMITS = Limits(memory_bytes=2 << 30, cpu_seconds=30, wall_seconds=60.0)
MODEL = LogisticRegression().fit([[0.0], [1.0]], [0, 1])


class Attack:
    """Runs code when it is unpickled, and then is a model like any other."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        model = f"__import__('joblib').load(__import__('io').BytesIO({dumped(MODEL)!r}))"
        return (eval, (f"(exec({self.code!r}, {{}}), {model})[1]",))


def attack(code: str, limits: Limits = LIMITS) -> None:
    """Open a pickle that runs code; its answers are asked for while the child lives."""
    buffer = io.BytesIO()
    joblib.dump(Attack(code), buffer)
    with tempfile.TemporaryDirectory() as directory:
        saved = saved_bytes(buffer.getvalue(), Path(directory))
        with Sandbox("evil.pkl", limits, readable=[saved.path]) as sandbox:
            source = open_saved(sandbox, saved)
            source.describe()
            source.graph(DEFAULT_OPSET)
            source.reference({"x0": np.array([0.5])})


@pytest.fixture(scope="module")
def contained() -> None:
    """Skip where this kernel cannot contain the child."""
    with Sandbox("probe") as sandbox:
        if not sandbox.containment.startswith("contained:"):
            pytest.skip(sandbox.containment)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        yield server


def test_the_attack_itself_works_when_it_is_harmless() -> None:
    attack("x = 1")


def try_all(acts: list[str], **names: Any) -> None:
    """Have an attack try one thing after another; none of them may succeed."""
    code = f"""
import ctypes, errno, fcntl, os, resource, signal, socket, subprocess

def called(name, *values):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*values) < 0:
        raise OSError(ctypes.get_errno(), name)

done = []
for act in {acts!r}:
    try:
        exec(act, globals(), {names!r})
        done.append(act)
    except (PermissionError, FileNotFoundError):
        pass
    except OSError as error:
        assert error.errno in (errno.EPERM, errno.EACCES, errno.EFBIG, errno.EXDEV), error
if done:
    raise RuntimeError(done)
"""
    attack(code)


@pytest.mark.usefixtures("contained")
def test_files_are_out_of_reach(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    secret = home / "release.key"
    secret.write_text("the secret")
    secret.chmod(0o600)
    before = secret.stat()

    acts = [
        "open(new, 'w')",
        "os.open(new, os.O_CREAT | os.O_WRONLY)",
        "os.mkdir(new)",
        "os.symlink('/etc/passwd', new)",
        "os.mkfifo(new)",
        "os.link(secret, new)",
        "os.rename(secret, new)",
        "os.unlink(secret)",
        "os.truncate(secret, 0)",
        "os.open(secret, os.O_RDONLY | os.O_TRUNC)",
        "os.chmod(secret, 0o777)",
        "os.chown(secret, 1, 1)",
        "os.utime(secret, (1, 1))",
        "os.setxattr(secret, 'user.x', b'1')",
        "open(secret)",
        "open(secret, 'r+')",
        "os.listdir(home)",
        "open('/etc/passwd')",
        "open(os.path.join(packager, 'pyproject.toml'))",
        "open('left-behind', 'w')",
        "open('/dev/shm/left-behind', 'w')",
        "open('/dev/tty')",
    ]
    checkout = Path(__file__).parents[3]
    try_all(
        acts, new=str(home / "new"), secret=str(secret), home=str(home), packager=str(checkout)
    )

    assert [path.name for path in home.iterdir()] == ["release.key"]
    assert secret.read_text() == "the secret"
    assert (secret.stat().st_mode, secret.stat().st_mtime_ns) == (
        before.st_mode,
        before.st_mtime_ns,
    )


@pytest.mark.usefixtures("contained")
def test_networks_are_out_of_reach(listener: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "daemon.sock")
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(path)
        daemon.listen()
        daemon.settimeout(0.2)

        acts = [
            "socket.create_connection(address)",
            "socket.create_server(('127.0.0.1', 0))",
            "socket.socket(socket.AF_UNIX).connect(path)",
            "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "called('syscall', 425, 8, ctypes.create_string_buffer(120))",  # io_uring_setup
        ]
        try_all(acts, address=listener.getsockname(), path=path)

        for server in (listener, daemon):
            with pytest.raises(TimeoutError):
                server.accept()


@pytest.mark.usefixtures("contained")
def test_other_processes_and_rights_are_out_of_reach(tmp_path: Path) -> None:
    acts = [
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "subprocess.run(['/bin/true'])",
        "os.kill(os.getppid(), 9)",
        "os.kill(parent, 9)",
        "os.killpg(parent, 9)",
        "os.pidfd_open(parent)",
        "resource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))",
        "fcntl.fcntl(0, 8, parent)",  # F_SETOWN: signals by way of a descriptor
        "open(f'/proc/{parent}/environ')",
        "open(f'/proc/{parent}/mem', 'r+b')",
        "called('ptrace', 16, parent, 0, 0)",
        "called('unshare', 0x10000000)",
        "os.chroot('/')",
    ]
    try_all(acts, parent=os.getpid())
    attack(f"import os; os.system('touch {tmp_path}/ran')")

    assert list(tmp_path.iterdir()) == []


def test_memory_without_end_is_refused() -> None:
    with pytest.raises(SourceFailed, match=r"more than the 2\.0 GiB") as caught:
        attack("held = [bytearray(1 << 26) for _ in range(1 << 20)]")

    assert caught.value.values["expected"] == 2 << 30


def test_a_loop_without_end_is_ended_by_its_processor_time() -> None:
    limits = Limits(2 << 30, cpu_seconds=4, wall_seconds=60.0)

    with pytest.raises(SourceFailed, match=r"SIGXCPU \(4 s of processor time were allowed\)"):
        attack("while True: pass", limits)


@pytest.mark.parametrize(
    "act",
    [
        "time.sleep(1000)",
        "signal.signal(signal.SIGXCPU, signal.SIG_IGN); signal.pause()",
    ],
)
def test_waiting_without_end_is_ended_by_the_clock(act: str) -> None:
    limits = Limits(2 << 30, cpu_seconds=30, wall_seconds=4.0)

    with pytest.raises(SourceFailed, match="within 4 s"):
        attack(f"import signal, time; {act}", limits)


def test_prints_do_not_reach_the_protocol(capfd: pytest.CaptureFixture[str]) -> None:
    code = """
import os, sys
print('garbage' * 100000, flush=True)
print('\\033[2J garbage', file=sys.stderr, flush=True)
os.write(1, b'garbage'), os.write(2, b'garbage')
os.system('echo garbage')
"""
    attack(code)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "line",
    [
        b"garbage\n",
        b"\xff\xfe\n",
        b'{"payload": 1000000000000}\n',
        b'{"payload": 5}\nabc',
        b"[" * 100_000 + b"\n",
        b'{"payload": 0}\n',
        b'{"payload": 0, "error": [1]}\n',
        b'{"payload": 0, "error": {"code": "no-space", "message": "\\u001b[2J"}}\n',
    ],
)
def test_what_is_written_to_the_protocol_is_never_believed_beyond_its_form(line: bytes) -> None:
    code = f"""
import os
for descriptor in range(3, 20):
    try:
        os.write(descriptor, {line!r})
    except OSError:
        pass
os._exit(3)
"""
    with pytest.raises(EdgepackError) as caught:
        attack(code)

    assert caught.value.code in {"source-failed", "source-unreadable"}
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("act", "found"),
    [
        ("os._exit(7)", "itself with status 7"),
        ("raise SystemExit(5)", "itself with status 5"),
        ("os.abort()", "SIGABRT"),
        ("__import__('ctypes').string_at(0)", "SIGSEGV"),
        ("[os.close(n) for n in range(3, 20)]; os._exit(0)", "itself with status 0"),
    ],
)
def test_a_child_that_dies_is_told(act: str, found: str) -> None:
    with pytest.raises(SourceFailed, match=found):
        attack(f"import os\ntry: {act}\nexcept OSError: os._exit(0)")


def test_a_stranger_s_message_cannot_draw_on_the_terminal() -> None:
    with pytest.raises(SourceUnreadable) as caught:
        attack("raise ValueError('\\033[2J\\033]0;owned\\007' + 'long' * 100000)")

    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 1000


def test_a_model_that_points_to_files_outside_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"\0" * 64)
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(tmp_path / "secret"))
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    evil = onnx.helper.make_model(graph).SerializeToString()

    lies = "import packager.sources.sklearn.graph as g; g.convert = lambda *_: Converted"
    lies = f"from packager.sources.opened import Converted; {lies}"
    for answer in (evil, evil[:-3], b"", b"no model"):
        code = f"{lies}({answer!r})"
        with pytest.raises(EdgepackError) as caught:
            attack(code)
        assert caught.value.code in {"source-failed", "conversion-failed"}


def test_answers_that_are_no_arrays_are_refused() -> None:
    code = """
import packager.sources.wire as wire
from packager.sources.wire import Message
wire.pack = lambda arrays: Message({'arrays': ['label'], 'text': [False]}, b'PK no arrays')
"""
    with pytest.raises(SourceFailed, match="must answer with arrays"):
        attack(code)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)

    attack("x = 1")
    with pytest.raises(EdgepackError):
        attack("import os; os._exit(1)")

    assert list(tmp_path.iterdir()) == []


def test_the_child_does_not_outlive_us(tmp_path: Path) -> None:
    """A parent that is killed takes a child with it that never reads its requests again."""
    program = f"""
import sys, threading
from pathlib import Path
from packager.sources.confine import Limits
from packager.sources.sandbox import Sandbox
import joblib
class Evil:
    def __reduce__(self):
        return (eval, ("__import__('time').sleep(1000)",))
path = {str(tmp_path / "evil.pkl")!r}
joblib.dump(Evil(), path)
limits = Limits({2 << 30}, 60, 60.0)
sandbox = Sandbox("evil.pkl", limits, readable=[Path(path)]).__enter__()
print(sandbox._child.pid, flush=True)
sandbox.ask({{"do": "load", "form": "pickle", "path": path, "options": {{}}}})
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        text=True,
    )
    assert parent.stdout
    child = int(parent.stdout.readline())
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    for _ in range(100):
        if not Path(f"/proc/{child}").exists() or _is_zombie(child):
            return
        signal.sigtimedwait([], 0.1)
    pytest.fail("the child still runs")


def _is_zombie(pid: int) -> bool:
    return ") Z " in Path(f"/proc/{pid}/stat").read_text()
