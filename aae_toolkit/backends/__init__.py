"""Backends: one small protocol over everything that can run an exported artifact."""
