"""How work is run and watched, never what it makes: command line, signals, workers, memory, log, display."""
