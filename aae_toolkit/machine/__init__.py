"""Devices, memory and package versions of this machine."""
