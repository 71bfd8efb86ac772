"""The data folder: where things are, and how bytes get there safely."""
