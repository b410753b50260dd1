// One block's weights in host memory, its linear layers quantised: what travels to a device in each
// pass is half of what the file holds.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "models/placement.h"
#include "weights/weight_map.h"
#include "weights/weight_stream.h"

namespace t2v::models::wan {

class QuantisedBlock final : public weights::WeightSource {
 public:
  // from: the block as it was read, with the plan of this block; names: of its tensors. Deltas are
  // added before. Throws Error{kModel}.
  QuantisedBlock(const Placement& from, const std::vector<std::string>& names,
                 weights::HostAllocator allocate);

  // Whether a plan makes int8 of weights that are stored in another way.
  [[nodiscard]] static bool pays(const Placement& from, const std::vector<std::string>& names);

  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name) const override;
  [[nodiscard]] const std::vector<int64_t>& shape(std::string_view name,
                                                  size_t rank) const override;
  [[nodiscard]] at::Tensor take(std::string_view name, c10::ScalarType dtype) const override;
  [[nodiscard]] at::Tensor borrow(std::string_view name, c10::ScalarType dtype) const override;
  void take_into(std::string_view name, at::Tensor& destination) const override;
  [[nodiscard]] std::optional<weights::SideBranch> side_branch(std::string_view) const override {
    return std::nullopt;
  }
  [[nodiscard]] c10::ScalarType float_type(std::string_view name) const override;
  [[nodiscard]] std::optional<int64_t> int8_rotation(std::string_view name) const override;
  [[nodiscard]] weights::Int8Rows take_int8(std::string_view name, int64_t rotation) const override;

  [[nodiscard]] int64_t bytes() const noexcept { return memory_.bytes(); }

 private:
  struct Part {
    std::vector<int64_t> shape;
    at::Tensor values;     // in memory_: of a float type, or int8
    at::Tensor row_scale;  // in memory_; undefined: values are plain
    int64_t rotation = 0;
  };
  [[nodiscard]] const Part& part(std::string_view name) const;

  weights::HostBuffer memory_;
  std::map<std::string, Part, std::less<>> parts_;
};

}  // namespace t2v::models::wan
