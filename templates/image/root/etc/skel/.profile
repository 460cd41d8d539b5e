# Read by login shells. Yours to change: it lies in the home volume and survives a new image.
if [ -n "$BASH_VERSION" ] && [ -f "$HOME/.bashrc" ]; then
	. "$HOME/.bashrc"
fi
