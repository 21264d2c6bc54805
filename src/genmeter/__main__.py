"""``python -m genmeter`` is the ``genmeter`` command."""

from genmeter.cli import main

if __name__ == "__main__":
    main()
