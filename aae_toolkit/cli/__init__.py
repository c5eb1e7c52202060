"""Command line: one thin file per command; torch is imported inside commands only."""
