"""The bridge to TVM, the only room that imports it: its names move between releases."""
