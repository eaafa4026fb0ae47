"""What a user types around the pipeline; none of these modules is a DVC stage."""
