"""What this machine has: devices, memory, versions."""
