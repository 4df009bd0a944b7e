"""An archive of the journal on another machine, and the verification of journal and archive."""
