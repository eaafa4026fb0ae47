"""Where the repository lies, and beside it the reference arrays that a user's clone does not have."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCE_DIR = REPOSITORY.parent / "shared" / "reference"
SHIPPED = ("hex", "market", "rugs", "splendor")  # the datasets of the repository; a user's own ones come beside them


def module_of(name: str) -> str:
    """Return the module of a verb (`merge`), of a command (`trace`), or of anything else below stages by its dots."""
    is_command = (REPOSITORY / "stages/commands" / f"{name}.py").is_file()
    return f"stages.commands.{name}" if is_command else f"stages.{name}"
