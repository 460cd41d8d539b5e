# Read by interactive bash. Yours to change: it lies in the home volume and survives a new image.
case $- in
*i*) ;;
*) return ;;
esac

HISTCONTROL=ignoreboth
HISTSIZE=10000
HISTFILESIZE=100000
shopt -s histappend checkwinsize globstar

__git_branch() {
	local branch
	branch=$(git symbolic-ref --short -q HEAD 2>/dev/null) && printf ' (%s)' "$branch"
}
# The code of a command that failed, in red; then user, environment, folder and branch.
__prompt() {
	local code=$?
	local failed=''
	[ "$code" -eq 0 ] || failed="\[\e[31m\]$code\[\e[0m\] "
	PS1="$failed\[\e[32m\]\u@\h\[\e[0m\] \[\e[34m\]\w\[\e[33m\]\$(__git_branch)\[\e[0m\] \\$ "
}
PROMPT_COMMAND=__prompt

alias ls='eza --group-directories-first'
alias ll='eza -l --git --group-directories-first'
alias la='eza -la --git --group-directories-first'

[ -f /usr/share/bash-completion/bash_completion ] && . /usr/share/bash-completion/bash_completion
eval "$(fzf --bash)"
