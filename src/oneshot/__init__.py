"""oneshot: one-shot neural architecture search, compared with training every architecture standalone."""
