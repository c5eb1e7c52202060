"""Proof that every exported file is the same classifier as the trained model."""
