"""What `sweeps doctor` looks at: one module for each thing that a sweep leans on."""
