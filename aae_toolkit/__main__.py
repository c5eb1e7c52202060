"""`python -m aae_toolkit`, and `torchrun -m aae_toolkit`: the `aae` command."""

from aae_toolkit.cli.app import main

main()
