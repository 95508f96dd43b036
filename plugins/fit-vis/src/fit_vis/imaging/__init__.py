"""Pictures of any value of the state, by a chain of what is to be done with them."""

from fit_vis.imaging.chain import FromState

__all__ = ["FromState"]
