
# The names of running machines: those of their sockets, in folders of the user's own. Others may make any folder below /tmp.
function __fish_optimus_vmm_machines
    set -l user (id -u)
    set -l folder /run/user/$user
    set -q XDG_RUNTIME_DIR
    and set folder $XDG_RUNTIME_DIR
    for folder in $folder/optimus-vmm /tmp/optimus-vmm-$user
        test -d $folder -a -O $folder -a ! -L $folder
        or continue
        for socket in $folder/*.sock
            string replace --regex '^.*/(.*)\.sock$' '$1' -- $socket
        end
    end
end

# Whether the last word, but for options, is one of these.
function __fish_optimus_vmm_after
    set -l words (commandline -opc | string match --invert -- '-*')
    contains -- "$words[-1]" $argv
end

complete -c optimus-vmm -n "__fish_optimus_vmm_using_subcommand ctl; and __fish_optimus_vmm_after ctl" -f -a "(__fish_optimus_vmm_machines)" -d 'Running machine'
complete -c optimus-vmm -n "__fish_optimus_vmm_using_subcommand explain; and __fish_optimus_vmm_after code43" -a "(__fish_optimus_vmm_machines)" -d 'Running machine'
