# shellcheck shell=bash
# shellcheck disable=SC2054,SC2154 # QEMU's commas; variables of common.sh
# Running a command or a shell in the emulated host. Sourced by scripts/lab.

# Seconds in which the emulated host must come up; about 10 on an idle machine.
readonly boot_limit=240
# Attempts to boot: nothing of the user's has run before the host is up.
readonly boot_attempts=2
# Logs of that many runs are kept.
readonly logs_kept=40

verb=
memory=4G
cpus=1
timeout=
gpu=
iommu=on
iommufd=
modules=()
devices=()
shares=()
command=()

parse_arguments() {
    verb=$1
    shift
    while [[ $# -gt 0 ]]; do
        case $1 in
            --gpu) gpu=yes ;;
            --iommufd) iommufd=yes ;;
            --mdev) modules+=(mdpy mbochs mtty lab_vgem) ;;
            --device | --iommu | --qemu | --memory | --cpus | --share | --timeout)
                [[ $# -ge 2 ]] || die "$1 needs a value; see 'scripts/lab help'"
                parse_option "$1" "$2"
                shift
                ;;
            --)
                shift
                command=("$@")
                break
                ;;
            -*) die "unknown option '$1'; see 'scripts/lab help'" ;;
            *) die "put '--' before the command: scripts/lab exec [OPTION]… -- $*" ;;
        esac
        shift
    done
    if [[ $verb == exec ]]; then
        [[ ${#command[@]} -gt 0 ]] || die "no command given: scripts/lab exec [OPTION]… -- COMMAND [ARG…]"
        timeout=${timeout:-1800}
    else
        [[ ${#command[@]} -eq 0 ]] || die "shell takes no command; use 'scripts/lab exec' for that"
        [[ -t 0 && -t 1 ]] || die "shell needs a terminal; use 'scripts/lab exec' without one"
        command=(/bin/bash -l)
    fi
}

parse_option() {
    case $1 in
        --device) devices+=(-device "$2") ;;
        --qemu) devices+=("$2") ;;
        --iommu)
            [[ $2 =~ ^(on|unsafe|off)$ ]] || die "--iommu wants on, unsafe or off, not '$2'"
            iommu=$2
            ;;
        --memory)
            [[ $2 =~ ^[0-9]+[MG]$ ]] || die "--memory wants a size like 4G or 512M, not '$2'"
            memory=$2
            ;;
        --cpus)
            [[ $2 =~ ^[1-9][0-9]?$ ]] || die "--cpus wants a number from 1 to 99, not '$2'"
            cpus=$2
            ;;
        --share)
            [[ -d $2 ]] || die "--share wants a directory, and '$2' is not one"
            shares+=("$(realpath -- "$2")")
            ;;
        --timeout)
            [[ $2 =~ ^[1-9][0-9]{0,6}$ ]] || die "--timeout wants a number of seconds, not '$2'"
            timeout=$2
            ;;
    esac
}

# Directories the emulated host sees, each at its own path: the checkout first. All
# are read-write except the lab's own.
collect_shares() {
    local each listed=("$checkout")
    for each in "$lab" ${CARGO_TARGET_DIR:+"$(realpath -m -- "$CARGO_TARGET_DIR")"} "${shares[@]}"; do
        if [[ -d $each && $each/ != "$checkout"/* ]]; then
            listed+=("$each")
        fi
    done
    shares=("${listed[@]}")
}

# share_mode PATH FOR_READING_ONLY ELSE
share_mode() {
    if [[ $1 == "$lab" ]]; then
        echo "$2"
    else
        echo "$3"
    fi
}

# Writes what host-init reads, see there, as the initramfs's directory /lab.
write_orders() {
    local orders=$run/initramfs/lab i size
    mkdir -p "$orders"
    install -m 755 "$parts/host-init" "$run/initramfs/init"
    for i in "${!shares[@]}"; do
        echo "share$i $(share_mode "${shares[i]}" ro rw) ${shares[i]}"
    done >"$orders/shares"
    echo "${modules[*]}" >"$orders/modules"
    [[ -z $iommufd ]] || touch "$orders/iommufd"
    {
        compgen -e | grep -E '^(OPTIMUS|RUST|CARGO)_' | while read -r name; do
            printf 'export %s=%q\n' "$name" "${!name}"
        done
        printf 'export OPTIMUS_LAB_DIR=%q OPTIMUS_LAB_IOMMU=%q OPTIMUS_IN_LAB=1 TERM=%q\n' "$lab" "$iommu" "${TERM-dumb}"
        printf 'cd %q || exit\nexec' "$checkout"
        printf ' %q' "${command[@]}"
        echo
    } >"$orders/command"
    if [[ $verb == shell ]]; then
        size=$(stty size 2>/dev/null) || size='0 0'
        [[ $size != '0 0' ]] || size='24 80'
        echo "$size" >"$orders/terminal"
    fi
    # The kernel unpacks several archives, one after the other. busybox, as a static
    # program, runs outside the root too.
    (
        cd "$run/initramfs" || exit
        find . | "$root/bin/busybox" cpio -o -H newc 2>/dev/null
    ) | cat "$lab/kernel/initrd.img" - >"$run/initrd.img"
}

machine_arguments() {
    # What is sent to this address comes back.
    local i echo=guestfwd=tcp:10.0.2.100:7-cmd:cat words='intel_iommu=on iommu=pt '
    [[ $iommu != off ]] || words=
    machine=(
        -nodefaults -no-user-config -display none -vga none -no-reboot
        -machine q35,kernel-irqchip=split -accel tcg,thread=multi,tb-size=512
        # Without a name of its own it would be called QEMU's, and so would the processors of guests. With erms and fsrm, Linux
        # clears and copies memory by instructions that are emulated byte by byte.
        -cpu "max,+svm,-erms,-fsrm,model-id=Lab Processor" -smp "$cpus" -m "$memory"
        -kernel "$inside/lab/kernel/vmlinuz" -initrd "$inside/run/initrd.img"
        -append "console=ttyS0 ${words}mitigations=off panic=-1 nowatchdog"
        -device isa-debug-exit,iobase=0xf4,iosize=4
        -serial "file:$inside/run/console.log"
        -monitor "unix:$inside/run/monitor,server=on,wait=off"
        -device virtio-rng-pci
        -device virtio-serial-pci,id=lab-serial
        -chardev "file,id=lab-report,path=$inside/run/report"
        -device virtserialport,bus=lab-serial.0,chardev=lab-report,name=report
        -fsdev "local,id=lab-root,path=$inside/root,security_model=passthrough,readonly=on,multidevs=remap"
        -device virtio-9p-pci,fsdev=lab-root,mount_tag=root
    )
    case $iommu in
        on) machine+=(-device intel-iommu,intremap=on,caching-mode=on) ;;
        unsafe) machine+=(-device intel-iommu,intremap=off,caching-mode=on) ;;
    esac
    for i in "${!shares[@]}"; do
        machine+=(
            -fsdev "local,id=lab-share$i,path=$inside/share$i,security_model=passthrough,multidevs=remap,readonly=$(share_mode "${shares[i]}" on off)"
            -device "virtio-9p-pci,fsdev=lab-share$i,mount_tag=share$i"
        )
    done
    if [[ $verb == shell ]]; then
        machine+=(
            -chardev stdio,id=lab-terminal,signal=off
            -device virtconsole,bus=lab-serial.0,chardev=lab-terminal
        )
    else
        for i in out err; do
            machine+=(
                -chardev "file,id=lab-$i,path=$inside/run/$i"
                -device "virtserialport,bus=lab-serial.0,chardev=lab-$i,name=$i"
            )
        done
    fi
    if [[ -n $gpu ]]; then
        truncate -s 64M "$run/nvme.img" "$run/usb.img"
        # The far end of the USB serial line, and a monitor of this QEMU, are for the emulated host itself: each is a socket
        # whose two ends are both here, one of them behind a virtio-serial port.
        for i in line qmp; do
            machine+=(
                -chardev "socket,id=lab-$i,path=$inside/run/$i,server=on,wait=off"
                -chardev "socket,id=lab-$i-far,path=$inside/run/$i"
                -device "virtserialport,bus=lab-serial.0,chardev=lab-$i-far,name=$i"
            )
        done
        machine+=(
            -device pcie-root-port,id=lab-gpu,addr=10.0,chassis=16,slot=16
            -device ati-vga,bus=lab-gpu,addr=0.0,multifunction=on
            -device intel-hda,bus=lab-gpu,addr=0.1
            -device pcie-root-port,id=lab-edu,addr=11.0,chassis=17,slot=17
            # It reaches beyond the first 256 MiB, where BARs are.
            -device edu,bus=lab-edu,dma_mask=0xffffffffff
            -device pcie-root-port,id=lab-nic,addr=12.0,chassis=18,slot=18
            -netdev "user,id=lab-net,restrict=on,$echo"
            -device e1000e,bus=lab-nic,netdev=lab-net
            -device pcie-root-port,id=lab-nvme,addr=13.0,chassis=19,slot=19
            -drive "file=$inside/run/nvme.img,format=raw,if=none,id=lab-nvme-disk"
            -device nvme,bus=lab-nvme,drive=lab-nvme-disk,serial=lab
            -device pcie-root-port,id=lab-igb,addr=14.0,chassis=20,slot=20
            -netdev "user,id=lab-igb-net,restrict=on,$echo"
            -device igb,bus=lab-igb,netdev=lab-igb-net
            -device pcie-root-port,id=lab-shmem,addr=15.0,chassis=21,slot=21
            # Only what a guest writes takes memory.
            -object memory-backend-ram,id=lab-shmem-memory,size=4G
            -device ivshmem-plain,bus=lab-shmem,memdev=lab-shmem-memory
            -device qemu-xhci,id=lab-usb,addr=16.0
            -drive "file=$inside/run/usb.img,format=raw,if=none,id=lab-usb-disk"
            -device usb-storage,bus=lab-usb.0,port=1,drive=lab-usb-disk,serial=lab
            -device usb-hub,bus=lab-usb.0,port=2
            -device usb-serial,id=lab-usb-serial,bus=lab-usb.0,port=2.1,chardev=lab-line
            -device usb-kbd,bus=lab-usb.0,port=2.2
            -device usb-tablet,bus=lab-usb.0,port=2.3
            -mon chardev=lab-qmp,mode=control
        )
    fi
    machine+=("${devices[@]}")
}

# QEMU, in namespaces of its own. Whatever ends this process ends everything in it,
# down to a SIGKILL of our shell.
start_qemu() {
    local binds=(--bind "$root" root --bind "$lab" lab --bind "$run" run) i
    for i in "${!shares[@]}"; do
        binds+=(--bind "${shares[i]}" "share$i")
    done
    exec {report}>&-
    exec setpriv --pdeathsig KILL \
        unshare --mount --pid --fork --kill-child -- \
        setpriv --pdeathsig KILL \
        "$parts/enter" "$root" "${binds[@]}" -- \
        env -i PATH=/usr/bin:/bin TMPDIR="$inside/run" TERM="${TERM-dumb}" \
        qemu-system-x86_64 "${machine[@]}"
}

# Passes on what arrives in a file, until QEMU has ended.
relay() {
    exec {report}>&- {hold}>&-
    exec setpriv --pdeathsig KILL tail --pid="$qemu" -s 0.1 -c +1 -f "$1" 2>/dev/null
}

qemu=
gone=
relays=()
run=
report=
hold=
attempt_status=

# Reads a line of the report, for $1 seconds at most, or for ever if $1 is empty. Sets
# `line`, and `gone` if the report's other end is closed: QEMU and its parents have ended.
read_report() {
    local status=0
    line=
    read -r ${1:+-t "$1"} -u "$report" line || status=$?
    if [[ $status -ne 0 && $status -le 128 ]]; then
        gone=yes
    fi
}

# Waits for QEMU to end, some $1 seconds long, and tells whether it has.
qemu_gone() {
    local line until=$((SECONDS + $1))
    while [[ -z $gone && $SECONDS -lt $until ]]; do
        read_report "$1"
    done
    [[ -n $gone ]]
}

# Ends everything of an attempt, and keeps its logs.
end_attempt() {
    local child=
    if [[ -n $qemu ]]; then
        # After its report the emulated host leaves QEMU by itself, at once.
        if [[ -z $attempt_status || $attempt_status -eq 124 ]] || ! qemu_gone 5; then
            # QEMU before its parent, which then still collects it.
            read -r child _ <"/proc/$qemu/task/$qemu/children" || true
            kill -KILL "${child:-$qemu}" || true
            qemu_gone 5 || kill -KILL "$qemu" || true
        fi 2>/dev/null
        wait "$qemu" 2>/dev/null || true
        exec {report}>&- {hold}>&-
        qemu=
    fi
    # These end by themselves once they have passed on everything.
    [[ ${#relays[@]} -eq 0 ]] || wait "${relays[@]}" 2>/dev/null || true
    relays=()
    if [[ -n $run && -d $run ]]; then
        cat "$run/console.log" "$run/qemu.log" >"$log" 2>/dev/null || true
        rm -rf --one-file-system "$run"
    fi
    run=
}

give_up() {
    trap '' INT TERM HUP
    [[ ${#relays[@]} -eq 0 ]] || kill "${relays[@]}" 2>/dev/null || true
    end_attempt
    trap - EXIT
    trap - "$1"
    kill -"$1" $$
}

# The last of the emulated host's log, after a failure that is the lab's.
lab_failure() {
    end_attempt
    {
        echo "--- the last lines of the emulated host's log:"
        tail -n 30 "$log" | tr -d '\r'
        echo "---"
    } >&2
    die "$1; the whole log is $log"
}

# One boot. Sets attempt_status to the command's status, or to 124, or to nothing if the
# lab failed; and `up` once the emulated host was up.
attempt() {
    local status='' limit line deadline writer
    gone=
    run=$(mktemp -d "$lab/run/XXXXXXXX")
    # As long as anything of this run lives: see forget_old_runs.
    exec {hold}<"$run"
    flock "$hold"
    log=$lab/logs/$(date +%Y%m%d-%H%M%S)-${run##*/}.log
    touch "$run/out" "$run/err" "$run/console.log"
    mkfifo "$run/report"
    write_orders
    machine_arguments

    # QEMU and its parents alone hold the writing end.
    # shellcheck disable=SC2094 # it is a FIFO
    exec {writer}<>"$run/report" {report}<"$run/report"
    if [[ $verb == shell ]]; then
        start_qemu <&"$terminal" 2>"$run/qemu.log" &
    else
        start_qemu </dev/null >"$run/qemu.log" 2>&1 &
    fi
    qemu=$!
    exec {writer}>&-
    if [[ $verb == exec ]]; then
        relay "$run/out" &
        relays+=($!)
        relay "$run/err" >&2 &
        relays+=($!)
    fi

    deadline=$((SECONDS + boot_limit))
    while [[ -z $status && -z $gone ]]; do
        limit=$deadline
        if [[ -n $end && (-z $limit || $end -lt $limit) ]]; then
            limit=$end
        fi
        if [[ -n $limit && $SECONDS -ge $limit ]]; then
            [[ $limit != "$end" ]] || status=124
            break
        fi
        read_report "${limit:+$((limit - SECONDS))}"
        case $line in
            up)
                up=yes
                deadline=
                ;;
            'exit '*) status=${line#exit } ;;
        esac
    done
    attempt_status=$status
}

lab_run() {
    local i end='' up='' lock terminal
    parse_arguments "$@"
    require_root
    for i in "${stages[@]}"; do
        [[ $(state_of "$i") != missing ]] || die "the lab in $lab is not set up; run 'scripts/lab setup' first"
    done
    # Setup and clean wait for us.
    exec {lock}<"$lab/lock"
    flock -s "$lock"
    [[ -z $iommufd || -d $root_iommufd ]] || die "the lab in $lab is older than --iommufd; run 'scripts/lab setup' again"
    [[ -e /proc/self/fd/0 ]] || exec </dev/null
    # bash takes standard input away from background jobs.
    exec {terminal}<&0
    collect_shares
    [[ -z $timeout ]] || end=$((SECONDS + timeout))
    trap end_attempt EXIT
    trap 'give_up INT' INT
    trap 'give_up TERM' TERM
    trap 'give_up HUP' HUP
    forget_old_runs

    for ((i = 1; ; i++)); do
        attempt
        if [[ -n $attempt_status ]]; then
            end_attempt
            [[ $attempt_status -ne 124 || $SECONDS -lt ${end:-0} ]] || say "ended after $timeout s, the time-out; the emulated host's log is $log"
            exit "$attempt_status"
        fi
        [[ -z $up ]] || lab_failure "the emulated host crashed while it ran the command"
        [[ $i -lt $boot_attempts ]] || lab_failure "the emulated host did not boot, in $i attempts"
        end_attempt
    done
}

# Logs of earlier runs, and what a killed run could not tidy up.
forget_old_runs() {
    local each
    find "$lab/logs" -name '2*.log' -printf '%T@ %p\n' | sort -rn | tail -n "+$logs_kept" \
        | cut -d ' ' -f 2- | xargs -r -d '\n' rm -f
    # A young one may not hold its lock yet.
    find "$lab/run" -mindepth 1 -maxdepth 1 -type d -mmin +1 | while read -r each; do
        flock -n "$each" rm -rf --one-file-system "$each" || true
    done
}
