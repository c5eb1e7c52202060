"""Report on one model, as a self-contained page.

    gallery, training, evidence ──► contents ──► report_page

The report collects the files of other commands, checks that all belong to the model, and names the command that adds a
missing part.
"""
