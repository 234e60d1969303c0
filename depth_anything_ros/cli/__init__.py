"""What every command line program shares: shell, signals, progress, options, reports."""
