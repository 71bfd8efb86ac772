"""The command line's commands, one module for each thing. They use the services directly, with no server."""
