"""What operators see and do with withdrawal policies."""
