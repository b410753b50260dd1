// Recognises what stands where a model folder was expected, to say so. The other layouts get their
// readers later; until then each is refused by its name.
#pragma once

#include <string>

namespace t2v::weights {

// path is not a folder: says what kind of file it is. Throws Error{kModel}.
[[noreturn]] void refuse_file_as_model(const std::string& path);

// path is a folder without model_index.json: says what it looks like. Throws Error{kModel}.
[[noreturn]] void refuse_other_layout(const std::string& path);

}  // namespace t2v::weights
