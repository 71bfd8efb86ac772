"""What every layer may use: settings, errors, ids, clock, logging. Imports nothing of the project."""
