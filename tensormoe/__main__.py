"""`python -m tensormoe`."""

import sys

from .cli import main

sys.exit(main())
