"""QLoRA Studio: bring recordings, fine-tune audio models in 4 bits, watch and hear the result."""

__version__ = "0.1.0"
