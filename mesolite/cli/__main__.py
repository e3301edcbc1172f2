"""`python -m mesolite.cli`: how `mesolite up` starts its processes, whatever PATH says."""

from .root import main

main()
