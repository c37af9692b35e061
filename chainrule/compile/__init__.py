"""From a recorded graph to native code: fusion, memory, kernels, LLVM, threads, `jit`."""
