"""Lowering: a task's graph to steps, by patterns; what code generation and quantisation start from."""
