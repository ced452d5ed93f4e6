
# The names of running machines: those of their sockets.
_optimus-vmm_machines() {
    local expl
    local -a machines
    machines=(
        ${XDG_RUNTIME_DIR:-/run/user/$UID}/optimus-vmm/*.sock(N=:t:r)
        /tmp/optimus-vmm-$UID/*.sock(N=:t:r)
    )
    _wanted machines expl 'running machine' compadd -a machines
}

_optimus-vmm_machines_or_files() {
    _alternative 'machines:running machine:_optimus-vmm_machines' 'files:file:_files'
}
