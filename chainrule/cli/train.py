"""`chainrule train images`. Read next: `runs.py`."""
import typer
app = typer.Typer(no_args_is_help=True)
@app.callback()
def x(): 
    """a"""
