#include "pipeline/tensor_dump.h"

#include <ATen/ops/_to_copy.h>

#include <cstdio>

namespace t2v::pipeline {

std::string indexed_name(const char* pattern, int64_t index) {
  char name[32];
  std::snprintf(name, sizeof name, pattern, static_cast<int>(index));
  return name;
}

void TensorDump::add(const std::string& name, const at::Tensor& tensor) {
  if (!wanted_) return;
  tensors_.push_back({name, at::_to_copy(tensor, tensor.options().device(at::kCPU)).contiguous()});
}

void TensorDump::write(const std::string& path) const {
  weights::write_safetensors(path, tensors_);
}

}  // namespace t2v::pipeline
