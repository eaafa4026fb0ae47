"""One package per dataset; `base` says what each of them provides."""
