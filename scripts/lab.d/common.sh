# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables shared with the files that source this
# What every command of scripts/lab needs: where things are, and how to fail.
# Sourced with $checkout and $parts set.

# The status for failures of the lab itself, as distinct from those of the command
# that runs in it. env(1), timeout(1) and git-bisect(1) use the same number.
readonly LAB_FAILURE=125

lab=$(realpath -m -- "${OPTIMUS_LAB_DIR:-${checkout:?}/target/lab}")
# The root file system: both the emulated host's and the one QEMU itself runs in.
root=$lab/root
# The modules that take the place of the kernel's with --iommufd.
root_iommufd=$root/usr/lib/iommufd
# Where `enter` gives QEMU its view of things outside the root.
readonly inside=/mnt

die() {
    printf 'lab: %s\n' "$*" >&2
    exit "$LAB_FAILURE"
}

say() {
    printf 'lab: %s\n' "$*" >&2
}

require_root() {
    [[ $EUID -eq 0 ]] || die "this needs root, for chroot and mounts; run it again with sudo"
}

# The stages of setup, in order. Each is a function `stage_NAME` in setup.sh.
readonly stages=(root firmware kernel modules initrd guest)

stamp_of() {
    printf '%s/stamps/%s\n' "$lab" "$1"
}

# What a stage is made from: when this changes, setup runs the stage again.
inputs_of() {
    local stage=$1
    {
        case $stage in
            root) cat "$parts/packages" ;;
            modules) cat "$parts"/modules/* "$parts"/iommufd/* ;;
            guest) cat "$parts/guest-init" ;;
        esac
        sed -n "/^readonly /p; /^stage_$stage()/,/^}/p" "$parts/setup.sh"
        [[ $stage == root ]] || cat "$parts/inside"
    } | sha256sum | cut -d ' ' -f 1
}

# missing, stale or ready
state_of() {
    local stamp
    stamp=$(stamp_of "$1")
    if [[ ! -e $stamp ]]; then
        echo missing
    elif [[ $(<"$stamp") != "$(inputs_of "$1")" ]]; then
        echo stale
    else
        echo ready
    fi
}
