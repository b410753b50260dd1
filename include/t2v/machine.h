// What the engine finds on this machine, for `t2v doctor`.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "t2v/request.h"

namespace t2v {

struct MachineGpu {
  std::string name;    // "NVIDIA H200"
  int capability = 0;  // compute capability times 10
  int multiprocessors = 0;
  int64_t total_bytes = 0;    // of memory
  int64_t free_bytes = 0;     // -1: the driver does not tell
  bool is_mig_slice = false;  // a part of a GPU
};

struct MachineFacts {
  std::string libtorch;        // "2.11.0"
  std::string cpu_capability;  // "AVX512", as LibTorch names it
  bool has_avx512 = false;
  bool has_bf16_products = false;  // AVX512-BF16
  bool has_amx = false;
  int num_threads = 0;      // that computing uses
  std::string cuda_driver;  // CUDA version that the driver offers, "12.4"; "" = no driver
  std::string gpu_problem;  // why the GPUs there are cannot be used; "" = none
  std::vector<MachineGpu> gpus;
  std::string device;  // that --device auto takes: "CPU, 2 threads, bf16"
  std::vector<std::pair<std::string, std::string>> kernels;  // operation -> what computes it
  int64_t host_bytes = 0;                                    // that this process could take
  double peak_flop_per_s = 0;  // of a large matrix product on that device
};

// Takes some tenths of a second; opens no model. Throws Error{kUsage, kDevice}.
MachineFacts examine_machine(const EngineOptions& options);

}  // namespace t2v
