# Read by interactive zsh. Yours to change: it lies in the home volume and survives a new image.
HISTFILE=~/.zsh_history
HISTSIZE=10000
SAVEHIST=100000
setopt append_history hist_ignore_dups hist_ignore_space share_history prompt_subst auto_cd

autoload -Uz compinit vcs_info
compinit -d ~/.cache/zcompdump
zstyle ':completion:*' menu select
zstyle ':vcs_info:git:*' formats ' (%b)'
precmd() { vcs_info }

# The code of a command that failed, in red; then user, environment, folder and branch.
PROMPT='%(?..%F{red}%?%f )%F{green}%n@%m%f %F{blue}%~%F{yellow}${vcs_info_msg_0_}%f %# '

alias ls='eza --group-directories-first'
alias ll='eza -l --git --group-directories-first'
alias la='eza -la --git --group-directories-first'

bindkey -e
source <(fzf --zsh)
