# Read by login shells and by interactive ones (bash and zsh; fish has its own).

# Variables and secrets as they are now: a tmux server, or a shell that this one was started from, may be older than
# the last change of .env. Nothing is printed where they are the same.
if [ -x /opt/powerdev/bin/powerdev-agent ]; then
	eval "$(/opt/powerdev/bin/powerdev-agent variables sh 2>/dev/null)"
fi

# A login shell begins with Debian's PATH: put back what comes before it and after it.
case ":$PATH:" in
*":$HOME/.local/bin:"*) ;;
*) PATH="$HOME/.local/bin:$PATH" ;;
esac
case ":$PATH:" in
*:/usr/local/lib/powerdev/bin:*) ;;
*) PATH="/usr/local/lib/powerdev/bin:$PATH" ;;
esac
case ":$PATH:" in
*:/opt/powerdev/bin:*) ;;
*) PATH="$PATH:/opt/powerdev/bin" ;;
esac
export PATH
