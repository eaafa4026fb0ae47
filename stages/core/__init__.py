"""What decides bytes, shared by all stages: errors, params.yaml, where files lie, units, fields and arrays."""
