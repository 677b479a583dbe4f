"""Code generation: what a target runs, made from the tasks' graphs."""
