"""The scripts of tools/ are no package: each folder is put where Python looks for modules."""

import sys
from pathlib import Path

TOOLS = Path(__file__).parents[2] / "tools"
sys.path[:0] = [str(TOOLS), str(TOOLS / "distill_pocket")]
