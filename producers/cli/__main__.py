"""``python -m producers.cli``: the program `orders`, where its console script is not on the path."""

from producers.cli.entry import main

if __name__ == "__main__":
    main()
