// Which device and which number type a run uses.
#pragma once

#include <string>

#include "pipeline/run.h"
#include "t2v/request.h"

namespace t2v::pipeline {

// Loads the CUDA back end when a GPU is used. Sets the number of threads and the op back end of the
// process. Throws Error{kDevice} when CUDA is asked for and not there, Error{kUsage} for a type the
// device cannot run.
Compute choose_compute(const EngineOptions& options);

// "CPU, 2 threads, bf16".
std::string describe(const Compute& compute);

// "fp32", "bf16" or "fp16".
const char* dtype_word(at::ScalarType dtype);

// The most memory this process has used so far.
int64_t peak_host_bytes();
// What this process takes now.
int64_t current_host_bytes();
// What this process could take in all: what it has, what the machine can still give, within the
// limits of its control groups and of its address space (ulimit -v). 0 where that cannot be told.
int64_t available_host_bytes();
// What a device can give to tensors: what is free, and what this process' allocator has already.
int64_t available_device_bytes(at::Device device);
// Hands freed memory back to the system between stages.
void trim_host_memory();

}  // namespace t2v::pipeline
