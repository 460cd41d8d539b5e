# Read by fish. Yours to change: it lies in the home volume and survives a new image.
if status is-interactive
    set -g fish_greeting
    fzf --fish | source
    alias ls 'eza --group-directories-first'
    alias ll 'eza -l --git --group-directories-first'
    alias la 'eza -la --git --group-directories-first'
end
