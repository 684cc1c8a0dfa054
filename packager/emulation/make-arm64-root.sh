#!/usr/bin/env bash
# Make a directory with the emulators and a 64-bit ARM Python that runs on this machine:
#
#   make-arm64-root.sh TARGET REQUIREMENT...          as "packager emulators --make" calls it
#   QEMU_CPU=cortex-a53 TARGET/venv/bin/python3 -c 'import platform; print(platform.machine())'
#
# TARGET/qemu-aarch64 and TARGET/qemu-x86_64 are the emulators, TARGET/root the ARM userland of
# this machine's own Debian or Ubuntu release, TARGET/venv a virtual environment whose Python is
# emulated, with wheels that its own pip chose.  TARGET/ready is there once all of it is.
#
# A requirement is a name or name==version; where a version has no wheel for ARM, the newest of
# all are taken.  No root is needed and nothing outside TARGET changes: no package is installed,
# no foreign architecture added, no maintainer script run, no chroot, no binfmt_misc.  Idempotent:
# a finished step is skipped, other requirements redo the wheels alone.  PYTHON names the Python
# whose pip is used (22.3 or newer; default python3).  A path under TARGET/root hides the same
# path of this machine from the emulated programs, so keep what they should see out of there.
set -euo pipefail

[ $# -gt 1 ] || { sed -n 's/^# \{0,1\}//; 4,5p' "$0" >&2; exit 2; }
python=${PYTHON:-python3}
# shellcheck source=/dev/null
. /etc/os-release

log() { printf '[%3ds] %s\n' "$SECONDS" "$*" >&2; }
die() { printf 'make-arm64-root: %s\n' "$*" >&2; exit 1; }

for tool in apt-get apt-cache dpkg dpkg-deb tar flock "$python"; do
    command -v "$tool" >/dev/null || die "needs $tool: use a Debian or Ubuntu machine that has it"
done
"$python" -m pip --version >/dev/null 2>&1 || die "needs pip, which $python has not"

mkdir -p "$1"
target=$(cd "$1" && pwd -P)
shift
root=$target/root
work=$target/.work
mkdir -p "$work"
exec 9>"$work/lock"
flock 9

# An apt of our own: this machine's sources and keys under another architecture or suite, its
# state kept apart.  Sets apt_conf.
private_apt() { # NAME ARCHITECTURE SUITE
    local state=$work/apt-$1 sources=/etc/apt/sources.list.d/$ID.sources list=$ID.sources
    [ -e "$sources" ] || { sources=/etc/apt/sources.list; list=own.list; }
    mkdir -p "$state/lists/partial" "$state/archives/partial"
    : >"$state/status"
    sed "s/\\b$VERSION_CODENAME\\b/$3/g" "$sources" >"$state/$list"
    if [ "$ID" = ubuntu ] && [ "$2" != amd64 ]; then
        # Ubuntu keeps other architectures on another mirror than the one configured here.
        : "${ARM64_APT_MIRROR:?on Ubuntu, set it to the mirror that has the arm64 packages}"
        list=ports.list
        printf 'deb [signed-by=%s] %s %s main universe\n' \
            /usr/share/keyrings/ubuntu-archive-keyring.gpg "$ARM64_APT_MIRROR" "$3" >"$state/$list"
    fi
    cat >"$state/apt.conf" <<CONF
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "3";
Dir::State "$state";
Dir::State::lists "$state/lists";
Dir::State::status "$state/status";
Dir::Cache "$state";
Dir::Cache::archives "$state/archives";
Dir::Etc::sourcelist "$state/$list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
CONF
    apt_conf=$state/apt.conf
}

own_apt() { # APT_PROGRAM ARGUMENT...
    APT_CONFIG=$apt_conf "$@"
}

# 1. The emulators, out of Debian's package.  Before 8.1 QEMU showed this machine's /proc/cpuinfo
#    to the ARM programs, and bookworm has 7.2; the binaries are static, so trixie's run there.
emulators() {
    local suite=$VERSION_CODENAME version
    [ ! -x "$target/qemu-x86_64" ] || return 0
    [ "$suite" != bookworm ] || suite=trixie
    private_apt qemu "$(dpkg --print-architecture)" "$suite"
    own_apt apt-get -qq update
    (cd "$work/apt-qemu" && rm -f ./*.deb && own_apt apt-get -qq download qemu-user)
    mkdir -p "$work/qemu"
    dpkg-deb --fsys-tarfile "$work"/apt-qemu/qemu-user_*.deb |
        tar -x -C "$work/qemu" ./usr/bin/qemu-aarch64 ./usr/bin/qemu-x86_64
    version=$("$work/qemu/usr/bin/qemu-aarch64" --version | sed -n 's/.*version \([0-9.]*\).*/\1/p')
    [ "$(printf '%s\n' "$version" 8.1 | sort -V | head -1)" = 8.1 ] ||
        die "needs QEMU 8.1 or newer, $suite has $version"
    mv "$work"/qemu/usr/bin/qemu-* "$target/"
    rm -rf "$work/apt-qemu" "$work/qemu"
    log "emulators: QEMU $version"
}

# 2. libc, libstdc++ and Python for ARM, unpacked without running anything.
userland() {
    local folder deb
    [ "$(cat "$work/userland.done" 2>/dev/null)" != "$VERSION_CODENAME" ] || return 0
    rm -rf "$target/ready" "$work/userland.done" "$root" "$target/venv"
    mkdir -p "$root"/usr/{bin,sbin,lib}
    for folder in bin sbin lib; do ln -s "usr/$folder" "$root/$folder"; done
    private_apt guest arm64 "$VERSION_CODENAME"
    own_apt apt-get -qq update
    py=$(own_apt apt-cache depends python3-minimal | sed -n 's/.*Depends: \(python3\.[0-9]*\)-minimal/\1/p')
    own_apt apt-get -qq -y --download-only install "$py-minimal" "lib$py-stdlib" libstdc++6 >/dev/null
    for deb in "$work"/apt-guest/archives/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink \
            --no-same-owner --exclude=./usr/share --exclude='./usr/lib/*/gconv' --exclude=./var
    done
    rm -rf "$work/apt-guest"
    precompile "$root/usr/lib/$py"
    echo "$VERSION_CODENAME" >"$work/userland.done"
    log "userland: $VERSION_CODENAME, $py"
}

# Byte-compile here what the emulated Python would compile slowly, where the versions agree.
precompile() { # FOLDER
    case $("$python" --version) in
        *" ${py#python}".*) "$python" -m compileall -q -x '/(tests?|lib2to3)/' "$1" >/dev/null || true ;;
    esac
}

# 3. A virtual environment, filled by its own (emulated) pip, which alone judges markers and tags
#    as an ARM board would.  It is made aside: who uses the old one meanwhile keeps it.
wheels() { # REQUIREMENT...
    local want="$target $VERSION_CODENAME $*"
    [ "$(cat "$target/ready" 2>/dev/null)" != "$want" ] || return 0
    py=$(basename "$(ls "$root"/usr/bin/python3.*)")
    rm -rf "$work/venv"
    mkdir -p "$work/venv/bin" "$work/venv/lib/$py/site-packages"
    printf 'home = %s\ninclude-system-site-packages = false\n' "$root/usr/bin" >"$work/venv/pyvenv.cfg"
    # Python takes its executable and its prefix from argv[0] and the pyvenv.cfg beside it.
    cat >"$work/venv/bin/python3" <<LAUNCHER
#!/bin/sh
exec "$target/qemu-aarch64" -cpu "\${QEMU_CPU:-cortex-a72}" -U LD_PRELOAD -U LD_LIBRARY_PATH \\
    -L "$root" -0 "\$0" "$root/usr/bin/$py" "\$@"
LAUNCHER
    chmod +x "$work/venv/bin/python3"
    log "fetching wheels: $*"
    fill "$@" || {
        log "taking the newest, as not every version has a wheel for $py on ARM"
        fill "${@%%==*}"
    }
    rm -rf "$target/ready" "$target/venv"
    mv "$work/venv" "$target/venv"
    precompile "$target/venv/lib/$py"
    echo "$want" >"$target/ready"
}

fill() { # REQUIREMENT...
    "$python" -m pip --python "$work/venv/bin/python3" -qq --disable-pip-version-check \
        install --no-compile --only-binary=:all: "$@"
}

emulators
userland
wheels "$@"
"$target/venv/bin/python3" -c \
    'import platform, sys; print(platform.machine(), platform.python_version(), sys.executable)' >&2
log "ready: $(du -sm "$target" | cut -f1) MB"
