"""From received files to clips: sources, archives, labels, decoding, splits, in a process of its own."""
