"""One file per thing to learn from sound: what a batch looks like and how an output is read and measured."""
