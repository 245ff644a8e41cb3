"""`ternzip train` and what belongs to it: recipes, data sets, runs, figures, on Lightning.

Importing this module imports none of them.
"""
