"""Figures of a run: curves, thresholds, samples, batches, the model."""
