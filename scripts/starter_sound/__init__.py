"""The starter sound model: what it was trained on, how it was built, what it can do."""
