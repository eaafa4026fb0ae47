"""One unit for each file of the raw folder."""

import hashlib

from stages.core.units import Source, Unit


def find(raw_dir, options):
    """Return the units."""
    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in raw_dir.iterdir()}
    return [Unit(name, (Source(name),), digest) for name, digest in sorted(digests.items())]
