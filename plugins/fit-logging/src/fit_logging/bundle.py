"""The bundle `logging`."""


def logging() -> list[str]:
    """Show progress on the terminal and write `history.csv`."""
    return ["progress", "csv"]
