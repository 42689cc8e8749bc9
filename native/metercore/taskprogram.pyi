"""The program that the kernel runs for each task of the system (a BPF iterator), assembled here for the kernel at hand."""
