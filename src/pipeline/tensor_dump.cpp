#include "pipeline/tensor_dump.h"

#include <ATen/ops/_to_copy.h>

namespace t2v::pipeline {

void TensorDump::add(const std::string& name, const at::Tensor& tensor) {
  if (!wanted_) return;
  tensors_.push_back({name, at::_to_copy(tensor, tensor.options().device(at::kCPU)).contiguous()});
}

void TensorDump::write(const std::string& path) const {
  weights::write_safetensors(path, tensors_);
}

}  // namespace t2v::pipeline
