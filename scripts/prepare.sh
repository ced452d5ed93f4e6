# Checks and installs what the scripts need. Sourced, not run.
# shellcheck shell=bash

# Says what is wrong and what to do, and ends.
give_up() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

need_root() {
    ((EUID == 0)) || give_up 'the lab needs root: run this with sudo'
}

# Rust, and a C linker for it.
need_build_tools() {
    # rustup installs for the user who calls it; under sudo that is the one who called sudo.
    if ! command -v cargo >/dev/null && [[ -n ${SUDO_USER:-} ]]; then
        local home
        home=$(getent passwd "$SUDO_USER" | cut -d : -f 6)
        PATH=$PATH:$home/.cargo/bin
        # Where rustup's cargo looks for the toolchain, which is root's home otherwise.
        export RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
    fi
    command -v cargo >/dev/null ||
        give_up 'cargo was not found: install a stable Rust toolchain of version 1.93 or newer'
    command -v cc >/dev/null || need_packages gcc libc6-dev
}

# apt-get, which waits for another program that holds the package manager, such as automatic updates.
patient_apt() {
    LC_ALL=C DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 "$@"
}

# apt-get update. The lock of the package lists is none that apt waits for.
update_package_lists() {
    local error try
    for try in {1..60}; do
        error=$(patient_apt update 2>&1 >/dev/null) && return
        [[ $error == *'Could not get lock'* ]] || break
        ((try > 1)) || echo 'waiting for the program that holds the package lists' >&2
        sleep 10
    done
    printf '%s\n' "$error" >&2
    return 1
}

# Debian packages, installed if they are missing.
need_packages() {
    local package missing=()
    for package in "$@"; do
        dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    ((EUID == 0)) || give_up "these packages are missing: apt-get install ${missing[*]}"
    echo "installing ${missing[*]}" >&2
    patient_apt install --yes --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        update_package_lists
        patient_apt install --yes --no-install-recommends "${missing[@]}" >/dev/null
    }
}
