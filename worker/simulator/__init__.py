"""Both venues over real HTTP, with a book and with faults on request."""
