"""The pictures of a profile, one function each, that returns a plotly figure."""
