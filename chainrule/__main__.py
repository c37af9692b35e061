"""`python -m chainrule`: the command line."""

from chainrule.cli.main import app

if __name__ == "__main__":
    app()
