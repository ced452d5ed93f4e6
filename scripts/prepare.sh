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
        PATH=$PATH:$(getent passwd "$SUDO_USER" | cut -d : -f 6)/.cargo/bin
    fi
    command -v cargo >/dev/null ||
        give_up 'cargo was not found: install a stable Rust toolchain of version 1.93 or newer'
    command -v cc >/dev/null || need_packages gcc libc6-dev
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
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" >/dev/null 2>&1 || {
        apt-get update >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}" >/dev/null
    }
}
