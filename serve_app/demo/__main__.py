"""``python -m serve_app.demo [INPUT]``, as ``make demo`` calls it."""

import sys

from serve_app.cli import main

sys.argv.insert(1, "demo")
main()
