"""The scripts of tools/ are no package: each folder is put where Python looks for modules."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "distill_pocket"))
