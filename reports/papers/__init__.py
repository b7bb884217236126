"""The papers, one room each: learners, measurements, claims and sections as data."""
