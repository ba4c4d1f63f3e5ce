"""`pyasr bench`: the rows of the op table with a clock, on a GPU or a CPU, beside their peers.

Answers come first: a row that differs from the reference in float64 is not timed. What is measured lies in one JSON file.

    target.py       where it is measured: functions, arrays, clock, CUDA graphs
    cells.py        which rows at which sizes; to add one, add a line there
    check.py        answers, bits, graphs
    timing.py       rounds over inputs that do not fit into a cache, medians and quartiles
    limits.py       what the device can do: a copy, a product
    peers.py        the same jobs by others, peers_torch.py and peers_solvers.py
    predictions.py  what was expected of a GPU, and whether it came true
    sanitizer.py    small sizes under compute-sanitizer
    command.py      the command
"""
