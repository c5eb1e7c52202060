"""A model's whole story on one self-contained page.

    gallery, training, evidence ──► contents ──► page

It draws together what other commands wrote, checks that all of it is of one model, and says what is absent, with the
command that adds it.
"""
