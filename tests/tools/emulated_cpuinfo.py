"""Print /proc/cpuinfo as the CPU under this Python would have it, found by asking CPUID."""

from __future__ import annotations

import ctypes
import mmap
import re
import struct
from pathlib import Path

# push rbx; mov r8, rdx; mov eax, edi; mov ecx, esi; cpuid; store the four at [r8]; pop rbx; ret
CODE = bytes.fromhex("53 4989d0 89f8 89f1 0fa2 418900 41895804 41894808 4189500c 5b c3")

# (leaf, subleaf, register): the kernel's names by bit; only what numeric libraries ask for.
FLAGS = {
    (1, 0, "edx"): "fpu:0 tsc:4 cx8:8 cmov:15 mmx:23 fxsr:24 sse:25 sse2:26",
    (0x80000001, 0, "edx"): "syscall:11 nx:20 lm:29",
    (1, 0, "ecx"): "pni:0 pclmulqdq:1 ssse3:9 fma:12 cx16:13 sse4_1:19 sse4_2:20 movbe:22 "
    "popcnt:23 aes:25 xsave:26 avx:28 f16c:29 rdrand:30",
    (0x80000001, 0, "ecx"): "lahf_lm:0 abm:5",
    (7, 0, "ebx"): "bmi1:3 avx2:5 bmi2:8 avx512f:16 avx512dq:17 adx:19 avx512cd:28 sha_ni:29 "
    "avx512bw:30 avx512vl:31",
    (7, 0, "ecx"): "avx512vbmi:1 gfni:8 vaes:9 vpclmulqdq:10 avx512_vnni:11",
    (7, 1, "eax"): "avx_vnni:4 avx512_bf16:5",
}

page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(CODE)
entry = ctypes.addressof(ctypes.c_char.from_buffer(page))
call = ctypes.CFUNCTYPE(None, ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p)(entry)


def cpuid(leaf: int, subleaf: int = 0) -> dict[str, int]:
    """Return the four registers of one CPUID leaf."""
    out = (ctypes.c_uint * 4)()
    call(leaf, subleaf, ctypes.addressof(out))
    return dict(zip(("eax", "ebx", "ecx", "edx"), out, strict=True))


def text(*values: int) -> str:
    """Return registers as the text they spell."""
    return struct.pack(f"<{len(values)}I", *values).decode("ascii").strip("\0 ")


def flags() -> str:
    """Return the flags line's value."""
    found = []
    for (leaf, subleaf, register), names in FLAGS.items():
        value = cpuid(leaf, subleaf)[register]
        for name, _, bit in (entry.partition(":") for entry in names.split()):
            if value >> int(bit) & 1:
                found.append(name)
    return " ".join(found)


def signature() -> dict[str, str]:
    """Return the lines that tell the model."""
    vendor, version = cpuid(0), cpuid(1)["eax"]
    family, model = version >> 8 & 15, version >> 4 & 15
    if family in (6, 15):
        model += version >> 12 & 0xF0
    if family == 15:
        family += version >> 20 & 0xFF
    brand = [value for leaf in range(0x80000002, 0x80000005) for value in cpuid(leaf).values()]
    return {
        "vendor_id": text(vendor["ebx"], vendor["edx"], vendor["ecx"]),
        "cpu family": str(family),
        "model": str(model),
        "model name": text(*brand),
        "stepping": str(version & 15),
        "flags": flags(),
    }


# Topology stays this machine's: the emulated program runs on its cores.
info = Path("/proc/cpuinfo").read_text()
for key, value in signature().items():
    info = re.sub(
        rf"(?m)^({key}\s*):.*$", lambda line, value=value: f"{line[1]}: {value}", info
    )
print(info, end="")
