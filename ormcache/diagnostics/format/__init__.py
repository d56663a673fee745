"""Numbers, names, reasons and SQL as people read them."""
