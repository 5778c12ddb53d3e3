"""Made by `declarations.py` and compiled by `hatch_build.py`: compares what compiled code takes for granted."""

def misplaced() -> list[str]:
    """The fields that do not lie where compiled code takes them to lie, as ``module.Class.field``."""
