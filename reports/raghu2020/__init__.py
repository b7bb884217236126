"""The parts of the raghu2020 page: verdicts, answer, figures, tables and sections."""
