"""What comes with the program, so that the first run needs no network: a dataset and a small model."""
