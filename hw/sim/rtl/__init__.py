"""The accelerator's SystemVerilog, simulated by Verilator."""
