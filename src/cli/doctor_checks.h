// What `t2v doctor` looks at outside of the engine: memory, limits, file systems, traps.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "t2v/machine.h"

namespace t2v::cli {

enum class FindingLevel { kOk, kWarn, kFail };
const char* finding_level_name(FindingLevel level) noexcept;  // "ok", "warn", "fail"

struct Finding {
  std::string area;  // "memory", "GPU" ...
  FindingLevel level = FindingLevel::kOk;
  std::string text;
  std::string advice;  // what to do; "" with kOk
};

// Where the checks look.
struct SystemView {
  std::string root;             // in front of /proc and /sys: tests bring files of their own
  std::string omp_num_threads;  // of the environment; "" = not set
  std::string model_path;       // local; "" = none to look at
  std::string cache_folder;     // "" = there is none
  std::string output_folder = ".";
};

// Processor and threads.
std::vector<Finding> check_processor(const MachineFacts& facts, const SystemView& view);
// Driver and GPUs.
std::vector<Finding> check_gpus(const MachineFacts& facts);
// Memory, control groups, limits of the process.
std::vector<Finding> check_memory(const MachineFacts& facts, const SystemView& view);
// Folders: of the model, of the cache, of videos, /tmp.
std::vector<Finding> check_folders(const SystemView& view);

// The type of the file system that holds `path`, and its options; "" when unknown.
struct Mount {
  std::string type;
  std::string options;
};
Mount mount_of(const std::string& path, const SystemView& view);

}  // namespace t2v::cli
