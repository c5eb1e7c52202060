"""Frozen networks of timm and torchvision that turn images into embeddings."""
