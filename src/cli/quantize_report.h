// What `t2v quantize` says of its work: JSON for --report, a table of the worst layers.
#pragma once

#include <string>

#include "t2v/quantize.h"

namespace t2v::cli {

std::string quantize_json(const QuantizeReport& report);

// The ten layers with the lowest SQNR, and the totals.
std::string quantize_table(const QuantizeReport& report);

}  // namespace t2v::cli
