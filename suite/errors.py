"""What the user is told: one line, exit code 2. Imported by everything, so it holds nothing else."""


class UserError(Exception):
    """A mistake the user can mend."""
