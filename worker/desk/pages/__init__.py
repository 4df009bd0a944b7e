"""The pages of the desk, a module each; see :mod:`worker.desk` for how to write one."""
