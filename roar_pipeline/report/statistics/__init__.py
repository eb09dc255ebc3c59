"""Statistics of the report: spread, intervals, tests, contrasts between cells."""
