// Reads the linear layers of one expert.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "models/placement.h"
#include "ops/linear.h"
#include "weights/weight_map.h"

namespace t2v::models::wan {

// `name`.weight and `name`.bias, in placement.dtype; in 8 bits where placement.quant says so: as
// stored, or quantised where they go (LoRA deltas added before). Throws Error{kModel} naming a row
// that is not finite.
ops::Linear load_linear(const Placement& from, const std::string& name);
// Several layers with one input as one product: rows in the order of the names.
ops::Linear load_packed_linear(const Placement& from, const std::vector<std::string>& names);

// Whether the layers of these names, which share an input, are of 8 bits.
bool is_eight_bit(const Placement& from, const std::vector<std::string>& names);
// The group of columns in which such a weight ("....weight") is rotated: what it is stored with, or
// what is asked for and divides the width: as `t2v quantize` would store it.
int64_t rotation_of(const Placement& from, const std::string& name);

void expect_linear(const std::string& name, int64_t out, int64_t in,
                   weights::Expectations& expected);

}  // namespace t2v::models::wan
