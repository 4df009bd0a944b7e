"""Rules by which a worker refuses a command that is valid in itself."""
