#!/usr/bin/env bash
# Make DIR a virtual environment like VENV, whose DIR/bin/python3 runs under emulation:
#
#   emulated-python.sh TARGET ARCHITECTURE CPU VENV DIR
#   emulated-python.sh ~/.cache/edgepack-tests x86_64 Haswell-noTSX .venv haswell
#
# TARGET is what make-aarch64-root.sh made, ARCHITECTURE is aarch64 or x86_64, CPU what QEMU calls
# the model.  The packages are VENV's own, by a link.  Python takes its executable and its prefix
# from argv[0] and the pyvenv.cfg beside it, so child processes started by sys.executable are
# emulated as well, whatever their environment.
set -euo pipefail

[ $# -eq 5 ] || { sed -n 's/^# \{0,1\}//; 4,5p' "$0" >&2; exit 2; }
target=$(cd "$1" && pwd -P)
architecture=$2
cpu=$3
venv=$(cd "$4" && pwd -P)
mkdir -p "$5/bin"
dir=$(cd "$5" && pwd -P)
here=$(cd "$(dirname "$0")" && pwd -P)

cp "$venv/pyvenv.cfg" "$dir/"
ln -sfn "$venv/lib" "$dir/lib"
if [ "$architecture" = aarch64 ]; then
    sysroot=$target/root
    python=$(ls "$sysroot"/usr/bin/python3.*)
else
    sysroot=$dir/root
    python=$(readlink -f "$venv/bin/python")
fi
cat >"$dir/bin/python3" <<LAUNCHER
#!/bin/sh
exec "$target/qemu-$architecture" -cpu "$cpu" -U LD_PRELOAD -U LD_LIBRARY_PATH \\
    -L "$sysroot" -0 "\$0" "$python" "\$@"
LAUNCHER
chmod +x "$dir/bin/python3"

# QEMU answers /proc/cpuinfo for ARM models by itself, but not for x86.
if [ "$architecture" = x86_64 ]; then
    mkdir -p "$sysroot/proc"
    "$dir/bin/python3" -I "$here/emulated_cpuinfo.py" >"$dir/cpuinfo"
    mv "$dir/cpuinfo" "$sysroot/proc/cpuinfo"
fi
