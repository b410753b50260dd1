// Reads the linear layers of one expert.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "models/placement.h"
#include "ops/linear.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// `name`.weight and `name`.bias, in placement.dtype.
ops::Linear load_linear(const Placement& from, const std::string& name);
// Several layers with one input as one product: rows in the order of the names.
ops::Linear load_packed_linear(const Placement& from, const std::vector<std::string>& names);

void expect_linear(const std::string& name, int64_t out, int64_t in,
                   weights::Expectations& expected);

}  // namespace t2v::models::wan
