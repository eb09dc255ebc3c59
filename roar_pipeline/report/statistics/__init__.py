"""How sure the numbers are: spread, intervals, tests, contrasts between cells."""
