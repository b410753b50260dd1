#include "weights/weight_source.h"

#include "core/check.h"

namespace t2v::weights {

WeightSource::~WeightSource() = default;

c10::ScalarType WeightSource::float_type(std::string_view) const { return c10::ScalarType::Float; }

std::optional<int64_t> WeightSource::int8_rotation(std::string_view) const { return std::nullopt; }

Int8Rows WeightSource::take_int8(std::string_view name, int64_t rotation) const {
  Int8Rows rows = quantise_rows(take(name, at::kFloat), rotation);
  const int64_t broken = first_broken_row(rows.row_scale);
  T2V_REQUIRE(broken < 0, ErrorKind::kModel, "tensor '", name, "': row ", broken,
              " holds NaN or infinite values");
  return rows;
}

}  // namespace t2v::weights
