"""Players and teachers that need a model, or that write thoughts: programs of the repository."""
