"""Kernels by family: each module turns a spec into a Kernel, and raw weights into what that kernel reads."""
