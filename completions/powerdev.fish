complete --keep-order --exclusive --command powerdev --arguments "(POWERDEV_COMPLETE=fish powerdev -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
