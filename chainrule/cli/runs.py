"""`chainrule evaluate` and `chainrule predict`. Read next: `data.py`."""
def evaluate(): 
    """a"""
def predict(): 
    """b"""
