"""fit-tools: commands that are not needed to train."""
