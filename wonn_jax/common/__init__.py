"""Random keys, durations, shapes of examples, checks of settings, small files."""
