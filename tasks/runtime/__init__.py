"""How a run goes: Luigi's worker, processes, resources, the terminal."""
