"""``python -m culvert`` is the ``culvert`` command."""

from culvert.cli.main import main

main()
