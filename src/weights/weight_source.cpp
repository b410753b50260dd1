#include "weights/weight_source.h"

namespace t2v::weights {

WeightSource::~WeightSource() = default;

}  // namespace t2v::weights
