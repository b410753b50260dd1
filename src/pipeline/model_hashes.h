// Which files a model was made of, told by short hashes that cost next to nothing.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pipeline/model.h"

namespace t2v::pipeline {

// (component, 16 hexadecimal digits). Of local files: sizes, headers and samples of the content all
// over each file; of others: tensors' names and sizes. Tells models apart; no protection against
// somebody who wants two to look alike (that is `t2v verify`).
std::vector<std::pair<std::string, std::string>> model_hashes(const Model& model);

}  // namespace t2v::pipeline
