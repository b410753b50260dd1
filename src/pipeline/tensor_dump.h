// The --dump file: every intermediate tensor of one request, in one safetensors file.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "weights/safetensors_writer.h"

namespace t2v::pipeline {

// "call07_output" of "call%02d_output" and 7.
std::string indexed_name(const char* pattern, int64_t index);

class TensorDump {
 public:
  explicit TensorDump(bool wanted) : wanted_(wanted) {}

  [[nodiscard]] bool wanted() const noexcept { return wanted_; }
  // Keeps a copy; does nothing when no dump is wanted.
  void add(const std::string& name, const at::Tensor& tensor);
  void write(const std::string& path) const;

 private:
  bool wanted_;
  std::vector<weights::NamedTensor> tensors_;
};

}  // namespace t2v::pipeline
