"""Where training runs: one file per backend behind the interface of `base`."""
