"""``python -m openai_continue`` is the command ``openai-continue``."""

from __future__ import annotations

import sys

from ._cli import main

sys.exit(main())
