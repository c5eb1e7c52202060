"""Self-contained HTML pages: rendering and shared templates."""
