# pyasr._cuda is added with its first kernel.
