"""`python -m nightbell.phone`."""

from nightbell.phone.main import main

raise SystemExit(main())
