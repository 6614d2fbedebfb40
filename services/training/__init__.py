"""Trains, evaluates and exports models; needs the extra `train`, and nothing else of appia needs it."""
