"""One checker of the contract, over what commands left behind: in the result backend, the journal and the venue."""
