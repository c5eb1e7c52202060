"""Backends that run exported artifacts, behind one small protocol."""
