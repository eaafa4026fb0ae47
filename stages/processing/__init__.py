"""What process makes the NPZ of a batch with: chunks, how many at once, where rows wait."""
