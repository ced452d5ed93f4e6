
# The names of running machines that begin with $1: those of their sockets, in folders of the user's own. Others may make any
# folder below /tmp, and any name in it: names are never expanded.
__optimus_vmm_machines() {
    local folder socket
    for folder in "${XDG_RUNTIME_DIR:-/run/user/$UID}/optimus-vmm" "/tmp/optimus-vmm-$UID"; do
        [[ -d $folder && -O $folder && ! -L $folder ]] || continue
        for socket in "$folder"/*.sock; do
            [[ -S $socket ]] || continue
            socket=${socket##*/} socket=${socket%.sock}
            [[ $socket != "$1"* ]] || printf '%s\n' "$socket"
        done
    done
}

__optimus_vmm_complete() {
    local i word place='' reply=()
    _optimus_vmm "$@"
    [[ $2 == -* || $3 == --log ]] && return
    # Options only where one has begun.
    for word in "${COMPREPLY[@]}"; do
        [[ $word == -* ]] || reply+=("$word")
    done
    COMPREPLY=("${reply[@]}")
    # The words so far, but for options and the file of the one that all commands have.
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
            --log)
                ((i++))
                [[ ${COMP_WORDS[i]} != = ]] || ((i++))
                ;;
            -*) ;;
            *) place+="$word " ;;
        esac
    done
    case $place in
        'ctl ') mapfile -t COMPREPLY < <(__optimus_vmm_machines "$2") ;;
        'explain code43 ')
            mapfile -t COMPREPLY < <(
                __optimus_vmm_machines "$2"
                compgen -f -- "$2"
            )
            compopt -o filenames
            ;;
    esac
}

complete -F __optimus_vmm_complete -o nosort -o bashdefault -o default optimus-vmm
