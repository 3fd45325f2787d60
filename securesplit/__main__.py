"""``python -m securesplit``: the command line."""

from securesplit.cli.main import main

main()
