"""The report: from the results' files to statistics, sentences, tables, figures and one HTML page."""
