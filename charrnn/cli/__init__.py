"""The command line. Only this package prints, and it contains no mathematics."""
