"""Search for settings that suit a data directory."""
