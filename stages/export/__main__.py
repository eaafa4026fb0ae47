"""Run the command."""

import sys

from stages.export.command import main

sys.exit(main())
