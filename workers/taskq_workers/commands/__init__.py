"""The subcommands of `taskq`, one module each, imported only when they run."""
