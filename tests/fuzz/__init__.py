"""A fuzzing campaign on everything that the project reads: `python -m tests.fuzz --minutes 10`.

Every mutant is a file, or a folder of files, that was written cleanly and then damaged in a way that its seed alone
decides. Whatever reads it must give the same numbers as the clean file, bit for bit, or refuse it in one line. All else
is a failure: a traceback, a hang, gigabytes of memory, or other numbers that nobody was told of.
"""
