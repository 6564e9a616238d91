"""The verbs of the command line that use trained networks: what each is asked, and what it calls."""
