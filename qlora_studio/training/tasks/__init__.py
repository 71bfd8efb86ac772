"""One file per way of turning sound into text: what a batch looks like and how an output is read."""
