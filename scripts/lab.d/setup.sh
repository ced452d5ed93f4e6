# shellcheck shell=bash
# shellcheck disable=SC2154 # variables of common.sh
# Building, listing and removing the lab. Sourced by scripts/lab. What happens in the
# root file system rather than on this machine is in `inside`.

# For the package manager of this machine.
# shellcheck source=scripts/prepare.sh
source "$parts/../prepare.sh"

readonly suite=trixie
readonly kernel_series=6.12
# Suites whose OVMF is unpacked, in order.
readonly firmware_suites=(bookworm trixie forky)
# Modules that the emulated host needs to find its root file system.
readonly host_modules=(virtio_pci virtio_console 9pnet_virtio 9p overlay)
# Modules it loads later, kept uncompressed because unpacking them is slow there.
readonly host_late_modules=(kvm_amd vfio_iommu_type1 vfio-pci mdev drm_shmem_helper tun vhost_net bridge)
# Modules of the small guest.
readonly guest_modules=(
    virtio_pci virtio_blk virtio-rng virtio_net virtio_console pvpanic-pci pvpanic-mmio
    ext4 vfat nls_ascii nls_cp437 nls_utf8 efivarfs nvme e1000e igb igbvf
    bochs mdpy-fb psmouse evdev button edu_test
    battery ac vrom_test
    ahci sd_mod sr_mod isofs
)

# The Debian mirror that apt uses on this machine.
mirror() {
    local format="\$(REPO_URI) \$(ORIGIN) \$(LABEL)" uri
    if [[ -n ${OPTIMUS_LAB_MIRROR-} ]]; then
        echo "$OPTIMUS_LAB_MIRROR"
        return
    fi
    find_mirror() {
        apt-get indextargets --format "$format" 'Created-By: Packages' \
            | awk '$2 == "Debian" && $3 == "Debian" { print $1; exit }'
    }
    uri=$(find_mirror)
    # A new machine has no lists yet, and apt knows an origin only by them.
    if [[ -z $uri ]]; then
        update_package_lists >>"$lab/logs/setup-root.log" 2>&1 || true
        uri=$(find_mirror)
    fi
    [[ -n $uri ]] || die "apt knows no Debian mirror here; run 'apt-get update', or name one in OPTIMUS_LAB_MIRROR"
    echo "${uri%/}"
}

# Runs the function $1 of `inside` in the root, all its changes going to $lab/build.
in_build() {
    unshare --mount --pid --fork --kill-child -- "$parts/enter" "$root" --overlay "$lab/build" \
        --bind "$lab" lab --bind "$parts" parts -- /mnt/parts/inside "$@" </dev/null
}

# The same, changing the root itself.
in_root() {
    unshare --mount --pid --fork --kill-child -- "$parts/enter" "$root" \
        --bind "$lab" lab --bind "$parts" parts -- /mnt/parts/inside "$@" </dev/null
}

# Runs COMMAND… with its output in a log that is shown if it fails.
logged() {
    local name=$1
    shift
    if ! "$@" >>"$lab/logs/setup-$name.log" 2>&1; then
        tail -n 25 "$lab/logs/setup-$name.log" >&2
        die "setup stage '$name' failed; all of its output is in $lab/logs/setup-$name.log"
    fi
}

host_packages() {
    local install=(patient_apt install -y --no-install-recommends mmdebstrap)
    command -v mmdebstrap >/dev/null && return
    command -v apt-get >/dev/null || die "setup needs a Debian or Ubuntu machine with apt-get"
    say "installing mmdebstrap"
    if ! "${install[@]}" >>"$lab/logs/setup-root.log" 2>&1; then
        logged root update_package_lists
        logged root "${install[@]}"
    fi
}

# The root file system: a small Debian with a current QEMU from its backports.
stage_root() {
    local from packages
    host_packages
    from=$(mirror)
    packages=$(sed 's/#.*//' "$parts/packages" | xargs | tr ' ' ',')
    # The settings that reaching the mirror may need.
    apt-config dump Acquire::http::Proxy Acquire::https::Proxy Acquire::Check-Valid-Until \
        Acquire::Check-Date >"$lab/apt.conf"
    rm -rf --one-file-system "$root" "$root.new"
    mkdir "$root.new"
    printf 'Package: %s\nPin: release n=%s\nPin-Priority: 600\n' \
        'qemu-* seabios ipxe-qemu' "$suite-backports" >"$lab/preferences"
    # In a mount namespace of its own: what it fails to unmount, while a program still uses it, is gone with it.
    logged root unshare --mount mmdebstrap --mode=root --variant=minbase --architectures=amd64 \
        --skip=cleanup/apt/lists \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt=force-unsafe-io \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --aptopt='Acquire::GzipIndexes "true"' --aptopt="$lab/apt.conf" \
        --setup-hook="upload '$lab/preferences' /etc/apt/preferences.d/lab" \
        --include="$packages" "$suite" "$root.new" \
        "deb $from $suite main" "deb $from $suite-backports main"
    mv "$root.new" "$root"
}

# OVMF of several Debian releases, each in a directory named after its edk2 release,
# and the last again as `newest`.
stage_firmware() {
    local from each
    from=$(mirror)
    rm -rf "$lab/ovmf"
    mkdir "$lab/ovmf"
    for each in "${firmware_suites[@]}"; do
        logged firmware in_build unpack_firmware "$from" "$each"
    done
}

# The kernel of the emulated host, which is the guests' kernel too.
stage_kernel() {
    rm -rf "$lab/kernel"
    logged kernel in_build unpack_kernel "$kernel_series"
    rm -rf "${root:?}/usr/lib/modules" "$root_iommufd"
    mv "$lab/kernel/usr/lib/modules" "$root/usr/lib/modules"
    mv "$lab"/kernel/boot/vmlinuz-* "$lab/kernel/vmlinuz"
    rm -rf "$lab/kernel/"{boot,usr}
}

# Kernel modules that Debian doesn't ship: see modules/ and iommufd/.
stage_modules() {
    rm -rf "$lab/modules" "$root_iommufd"
    logged modules in_build build_modules "$kernel_series"
    logged modules in_root install_modules "${host_late_modules[@]}"
    logged modules in_root install_iommufd
}

# The emulated host's initramfs, without its init: run.sh adds that at each run.
stage_initrd() {
    logged initrd in_build pack_initramfs kernel/initrd.img none "${host_modules[@]}"
}

# A small Linux guest: the same kernel, and an initramfs with guest-init.
stage_guest() {
    mkdir -p "$lab/guest"
    cp "$lab/kernel/vmlinuz" "$lab/guest/vmlinuz"
    logged guest in_build pack_initramfs guest/initrd.img guest-init "${guest_modules[@]}"
}

lab_setup() {
    local stage started=$SECONDS
    [[ $(uname -m) == x86_64 ]] || die "the lab works on x86-64 machines only, this is $(uname -m)"
    require_root
    if all_ready; then
        say "ready in $lab"
        return
    fi
    mkdir -p "$lab/stamps" "$lab/logs" "$lab/run"
    exec {lock}>"$lab/lock"
    flock -n "$lock" || {
        say "waiting for others who use $lab"
        flock "$lock"
    }
    for stage in "${stages[@]}"; do
        if [[ $(state_of "$stage") == ready ]]; then
            continue
        fi
        say "$stage … ($((SECONDS - started)) s)"
        : >"$lab/logs/setup-$stage.log"
        forget_from "$stage"
        rm -rf --one-file-system "$lab/build"
        "stage_$stage"
        inputs_of "$stage" >"$(stamp_of "$stage")"
    done
    rm -rf --one-file-system "$lab/build"
    say "ready in $lab ($((SECONDS - started)) s)"
}

all_ready() {
    local stage
    for stage in "${stages[@]}"; do
        [[ $(state_of "$stage") == ready ]] || return
    done
}

# Later stages are made from earlier ones.
forget_from() {
    local stage found=
    for stage in "${stages[@]}"; do
        [[ $stage != "$1" ]] || found=yes
        [[ -z $found ]] || rm -f "$(stamp_of "$stage")"
    done
}

lab_status() {
    local stage
    echo "$lab"
    for stage in "${stages[@]}"; do
        printf '  %-9s %s\n' "$stage" "$(state_of "$stage")"
    done
}

lab_clean() {
    require_root
    [[ -e $lab ]] || return 0
    [[ -d $lab/stamps ]] || die "$lab does not look like a lab; remove it by hand if it is one"
    exec {lock}>"$lab/lock"
    flock -n "$lock" || die "the lab is in use; end the runs first (they hold $lab/lock)"
    rm -rf --one-file-system "$lab"
}
