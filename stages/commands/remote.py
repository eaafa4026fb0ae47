"""Set the remote to share through, and take away what is configured for one of another kind: behind `make remote`.

Secrets and addresses of a remote lie in .dvc/config.local, which git does not carry. DVC refuses a key that the kind of
the remote does not know, in every command; so after a change from S3 to SSH, say, the keys of S3 go.
"""

import logging
import sys

from stages.core.errors import ExpectedError
from stages.pipeline import internals
from stages.runtime import cli

logger = logging.getLogger("batchwise")

NAME = "store"


def set_remote(url: str) -> None:
    """Make a URL the default remote, of which DVC checks what it gets.

    Raises
    ------
    ExpectedError
        When there is no URL, or DVC knows no such kind.
    """
    if not url.strip():
        raise ExpectedError("URL: empty, expected where to share; `make remote URL=ssh://host/path`")
    for key in internals.set_remote(NAME, url):
        logger.warning("remote %s: removed %s from .dvc/config.local, which %s does not know", NAME, key, url)


def main() -> int:
    """Run the command."""
    commands = cli.parser("commands.remote", "Set the remote to share through.")
    commands.add_argument("url", help="ssh://host/path, s3://bucket/path or a folder")
    url = commands.parse_args().url
    return cli.run(lambda: set_remote(url))


if __name__ == "__main__":
    sys.exit(main())
