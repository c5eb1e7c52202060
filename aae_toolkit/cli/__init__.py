"""The command line: one thin file a command, torch imported inside commands only."""
