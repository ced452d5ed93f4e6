
# The names of running machines: those of their sockets, in folders of the user's own. Others may make any folder below /tmp.
_optimus-vmm_machines() {
    local expl folder
    local -a machines
    for folder in ${XDG_RUNTIME_DIR:-/run/user/$UID}/optimus-vmm /tmp/optimus-vmm-$UID; do
        [[ -d $folder && -O $folder && ! -L $folder ]] || continue
        machines+=($folder/*.sock(N=:t:r))
    done
    _wanted machines expl 'running machine' compadd -a machines
}

_optimus-vmm_machines_or_files() {
    _alternative 'machines:running machine:_optimus-vmm_machines' 'files:file:_files'
}
