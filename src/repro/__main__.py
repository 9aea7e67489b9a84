"""``python -m repro``: the ``repro`` command."""

from .cli import main

if __name__ == "__main__":
    main()
