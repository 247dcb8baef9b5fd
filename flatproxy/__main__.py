"""`python -m flatproxy` is `flatproxy`."""

import sys

from flatproxy.cli import main

sys.exit(main())
