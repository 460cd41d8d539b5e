# What /etc/profile.d/powerdev.sh is for bash and zsh: variables and secrets as they are now, and the whole PATH.
if status is-interactive; or status is-login
    if test -x /opt/powerdev/bin/powerdev-agent
        /opt/powerdev/bin/powerdev-agent variables fish 2>/dev/null | source
    end
    for folder in ~/.local/bin /usr/local/lib/powerdev/bin
        contains -- $folder $PATH; or set -gx PATH $folder $PATH
    end
    contains -- /opt/powerdev/bin $PATH; or set -gx PATH $PATH /opt/powerdev/bin
end
