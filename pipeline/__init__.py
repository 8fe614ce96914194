"""One module per DVC stage: read declared inputs, call the core, write declared outputs."""
