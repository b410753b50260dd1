// The tensors of one streamed block, lying in host memory as they were stored.
#pragma once

#include <cstddef>

#include "weights/weight_map.h"
#include "weights/weight_stream.h"

namespace t2v::weights {

// A view: map, turn and bytes must outlive it. Holds the tensors of the turn and no others.
class WeightBlock final : public WeightSource {
 public:
  WeightBlock(const WeightMap& map, const Turn& turn, const std::byte* bytes)
      : map_(map), turn_(turn), bytes_(bytes) {}

  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name) const override {
    return map_.shape(name);
  }
  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name,
                                                  size_t rank) const override {
    return map_.shape(name, rank);
  }
  [[nodiscard]] at::Tensor take(std::string_view name, c10::ScalarType dtype) const override;
  [[nodiscard]] at::Tensor borrow(std::string_view name, c10::ScalarType dtype) const override;
  void take_into(std::string_view name, at::Tensor& destination) const override;
  [[nodiscard]] c10::ScalarType float_type(std::string_view name) const override {
    return map_.float_type(name);
  }
  [[nodiscard]] std::optional<SideBranch> side_branch(std::string_view name) const override {
    return map_.side_branch(name);
  }
  [[nodiscard]] std::optional<int64_t> int8_rotation(std::string_view name) const override {
    return map_.int8_rotation(name);
  }
  [[nodiscard]] Int8Rows take_int8(std::string_view name, int64_t rotation) const override;

 private:
  [[nodiscard]] at::Tensor raw(const TensorEntry& entry) const;

  const WeightMap& map_;
  const Turn& turn_;
  const std::byte* bytes_;
};

}  // namespace t2v::weights
