"""The report of a run as one HTML page; `page.py` assembles it from the template files here."""
