"""How training may be carried out: what a person chooses by name.

This module imports no torch, so the help of a command can list the choices quickly.
"""

EXECUTIONS = EAGER, CAPTURED = "eager", "captured"
"""How a GPU carries out updates: operation by operation, or recorded as CUDA graphs."""

FLOAT32, TF32, BFLOAT16 = "float32", "tf32", "bfloat16"
PRECISIONS = {
    FLOAT32: "as the parameters are",
    TF32: "on NVIDIA GPUs since Ampere, operands with fractions of 10 bits; elsewhere as float32",
    BFLOAT16: "operands and results with fractions of 7 bits",
}
"""How products are computed, by name, with the meaning that a person reads."""
