"""Execution modes and precisions that a user chooses by name.

This module imports no torch, so the help of a command can list the choices quickly.
"""

EXECUTIONS = EAGER, CAPTURED = "eager", "captured"
"""Ways in which a GPU runs updates: operation by operation, or recorded as CUDA graphs."""

FLOAT32, TF32, BFLOAT16 = "float32", "tf32", "bfloat16"
PRECISIONS = {
    FLOAT32: "as the parameters are",
    TF32: "on NVIDIA GPUs since Ampere, operands with fractions of 10 bits; elsewhere as float32",
    BFLOAT16: "operands and results with fractions of 7 bits",
}
"""Precisions of products, by name, with the description that users read."""
